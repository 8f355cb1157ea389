"""KubeRay's definitions for the API server: its own, from the folder that a variable names, or a small one of ours."""

import gzip
import json
import os
import time
from pathlib import Path
from typing import Final

from tests.kube.rest import Json, Rest

VARIABLE: Final = "CROSSDOCK_KUBERAY_CRDS"
NAME: Final = "rayclusters.ray.io"
ESTABLISH_SECONDS: Final = 60.0
POLL_SECONDS: Final = 0.1


def define_ray_clusters(rest: Rest) -> None:
    """Returns when objects of the kind can be made. Fine where it is defined already."""
    if rest.get("customresourcedefinitions", NAME) is None:
        rest.create("customresourcedefinitions", _definition())
    until = time.monotonic() + ESTABLISH_SECONDS
    while time.monotonic() < until:
        found = rest.get("customresourcedefinitions", NAME)
        conditions = (found or {}).get("status", {}).get("conditions") or ()
        if any(each["type"] == "Established" and each["status"] == "True" for each in conditions):
            return
        time.sleep(POLL_SECONDS)  # poll
    raise TimeoutError(f"{NAME} was not established in {ESTABLISH_SECONDS} s")


def _definition() -> Json:
    folder = os.environ.get(VARIABLE)
    if folder:
        with gzip.open(Path(folder) / "ray.io_rayclusters.json.gz") as text:
            whole: Json = json.load(text)
        return whole
    anything = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": NAME},
        "spec": {
            "group": "ray.io",
            "scope": "Namespaced",
            "names": {"kind": "RayCluster", "plural": "rayclusters", "singular": "raycluster"},
            "versions": [
                {
                    "name": "v1",
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "schema": {
                        "openAPIV3Schema": {
                            "type": "object",
                            "properties": {
                                "spec": anything | {"required": ["headGroupSpec"]},
                                "status": anything,
                            },
                        }
                    },
                }
            ],
        },
    }
