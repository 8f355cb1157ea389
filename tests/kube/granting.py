"""Grants the rights of the shipped manifest to a service account of a stage."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import yaml

from cloud_adapters.kubernetes import rights
from tests.kube.rest import Json, path
from tests.kube.stages import Stage

MANIFEST: Final = Path(rights.__file__).with_name("rbac.yaml")
PLURALS: Final = {
    "ServiceAccount": "serviceaccounts",
    "ClusterRole": "clusterroles",
    "ClusterRoleBinding": "clusterrolebindings",
    "Role": "roles",
    "RoleBinding": "rolebindings",
}
CLUSTER_WIDE: Final = frozenset({"ClusterRole", "ClusterRoleBinding"})


@contextmanager
def manifest_granted(kube: Stage) -> Iterator[dict[str, Json]]:
    """The roles as they were granted, by kind."""
    text = MANIFEST.read_text().replace("namespace: crossdock", f"namespace: {kube.namespace}")
    things = [each for each in yaml.safe_load_all(text) if each["kind"] != "Namespace"]
    for each in things:
        if each["kind"] in CLUSTER_WIDE:  # these have no namespace: each stage has its own
            each["metadata"]["name"] += f"-{kube.namespace}"
        if each["kind"] == "ClusterRoleBinding":
            each["roleRef"]["name"] += f"-{kube.namespace}"
    for each in things:
        kube.rest.create(PLURALS[each["kind"]], each, where(kube, each))
    yield {each["kind"]: each for each in things if "rules" in each}
    for each in things:
        if each["kind"] in CLUSTER_WIDE:
            kube.rest.delete(PLURALS[each["kind"]], each["metadata"]["name"])


def token_of(kube: Stage) -> str:
    """Of the manifest's service account."""
    account = f"{path('serviceaccounts', kube.namespace)}/crossdock/token"
    told: str = kube.rest.post(account, {"spec": {"expirationSeconds": 3600}})["status"]["token"]
    return told


def where(kube: Stage, thing: Json) -> str | None:
    return None if thing["kind"] in CLUSTER_WIDE else kube.namespace
