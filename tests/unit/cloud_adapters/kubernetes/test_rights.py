"""The manifest that we ship grants exactly what the adapter needs."""

from pathlib import Path

import pytest
import yaml

from cloud_adapters.kubernetes import rights
from cloud_adapters.kubernetes.rights import BUILDING, KUBERAY, LOOKING, PROXYING, Right, missing

MANIFEST = Path(rights.__file__).with_name("rbac.yaml")
Granted = tuple[str, str, str, str | None]


def granted(kind: str) -> set[Granted]:
    things = [each for each in yaml.safe_load_all(MANIFEST.read_text()) if each["kind"] == kind]
    return {
        (verb, what, group, name)
        for thing in things
        for rule in thing["rules"]
        for verb in rule["verbs"]
        for what in rule["resources"]
        for group in rule["apiGroups"]
        for name in rule.get("resourceNames", [None])
    }


def needed(wanted: tuple[Right, ...]) -> set[Granted]:
    return {(each.verb, each.what, each.group, each.name) for each in wanted}


def test_the_manifest_grants_what_is_needed_and_nothing_else() -> None:
    assert granted("ClusterRole") == needed(LOOKING)
    assert granted("Role") == needed((*BUILDING, *PROXYING, *KUBERAY))


@pytest.mark.parametrize(
    ("rule", "is_enough"),
    [
        ({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}, True),
        ({"verbs": ["get", "create"], "apiGroups": [""], "resources": ["services/proxy"]}, True),
        ({"verbs": ["create"], "apiGroups": [""], "resources": ["*/proxy"]}, True),
        ({"verbs": ["create"], "apiGroups": [""], "resources": ["services"]}, False),
        ({"verbs": ["create"], "apiGroups": ["ray.io"], "resources": ["services/proxy"]}, False),
        (
            {"verbs": ["create"], "apiGroups": [""], "resources": ["services/proxy"], "resourceNames": ["x"]},
            False,
        ),
    ],
)
def test_rules_are_read_as_rbac_means_them(rule: dict[str, list[str]], *, is_enough: bool) -> None:
    right = Right(verb="create", what="services/proxy", why="jobs cannot be sent")
    told = missing([right], [rule], "ml")
    assert told == (
        () if is_enough else ("may not create services/proxy in namespace ml: jobs cannot be sent",)
    )
