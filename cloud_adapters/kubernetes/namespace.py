"""The objects of one namespace, by kind and name: every read is complete and as young as the call."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from cloud_adapters.base import Rejected, Transient
from cloud_adapters.kubernetes.refusals import Absent, Call, Unknown

if TYPE_CHECKING:
    from cloud_adapters.kubernetes.client import Api

Json: TypeAlias = Mapping[str, Any]

CUSTOM: Final = "rayclusters"
GROUP_VERSION: Final = "ray.io/v1"
PAGE: Final = "500"


class Namespace:
    def __init__(self, api: "Api", name: str, *, until: float) -> None:
        self.name = name
        self._api = api
        self._until = until

    def has_kuberay(self) -> bool:
        """Whether the API server knows RayClusters; anybody may ask that.

        By what it lists: of a group that it does not know it says no more than a proxy does that has lost it.
        """
        groups = self._discovered("apis", "APIGroupList").get("groups") or ()
        versions = (each.get("groupVersion") for group in groups for each in group.get("versions") or ())
        if GROUP_VERSION not in versions:
            return False
        known = self._discovered(f"apis/{GROUP_VERSION}", "APIResourceList").get("resources") or ()
        return any(each.get("name") == CUSTOM for each in known)

    def node(self, name: str) -> Json | None:
        call = Call(verb="get", what="nodes", name=name)
        try:
            return self._api.get(call, f"/api/v1/nodes/{name}", {}, until=self._until)
        except Absent:
            return None

    def list(self, what: str, labels: Mapping[str, str]) -> tuple[Json, ...]:
        """Those with these labels. No RayCluster where the API server does not know them at all."""
        selector = ",".join(f"{name}={value}" for name, value in labels.items())
        query = {"labelSelector": selector, "limit": PAGE}
        found: list[Json] = []
        while True:
            try:
                page = self._api.get(self._call("list", what), self._path(what), query, until=self._until)
            except (Absent, Unknown) as refused:
                if what == CUSTOM and not self.has_kuberay():
                    return ()
                raise Transient(refused.message) from refused
            found += page.get("items") or ()
            token = page["metadata"].get("continue")
            if not token:
                return tuple(found)
            query["continue"] = token

    def get(self, what: str, name: str) -> Json | None:
        call = self._call("get", what, name)
        try:
            return self._api.get(call, f"{self._path(what)}/{name}", {}, until=self._until)
        except Absent:
            return None

    def create(self, what: str, thing: Json) -> Json:
        """Raises `Exists` where there is one of this name."""
        call = self._call("create", what, thing["metadata"]["name"])
        return self._api.create(call, self._path(what), thing, until=self._until)

    def apply(self, what: str, thing: Json) -> Json:
        name = thing["metadata"]["name"]
        path = f"{self._path(what)}/{name}"
        try:
            return self._api.apply(self._call("apply", what, name), path, thing, until=self._until)
        except Unknown as refused:
            if what == CUSTOM and not self.has_kuberay():
                raise Rejected(f"{refused.message}: KubeRay is not installed") from refused
            raise

    def merge(self, what: str, name: str, change: Json) -> Json:
        path = f"{self._path(what)}/{name}"
        return self._api.merge(self._call("patch", what, name), path, change, until=self._until)

    def delete(self, what: str, name: str) -> None:
        """Absent is fine. What it owns goes with it, some moments later."""
        options = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background"}
        call = self._call("delete", what, name)
        try:
            self._api.delete(call, f"{self._path(what)}/{name}", options, until=self._until)
        except Absent:
            return

    def _discovered(self, path: str, kind: str) -> Json:
        call = Call(verb="get", what=path)
        answer = self._api.get(call, f"/{path}", {}, until=self._until)
        if answer.get("kind") != kind:
            raise Transient(f"{call}: the answer is no {kind} of Kubernetes")
        return answer

    def _call(self, verb: str, what: str, name: str | None = None) -> Call:
        writes = verb not in {"get", "list"}
        return Call(verb=verb, what=what, namespace=self.name, name=name, writes=writes)

    def _path(self, what: str) -> str:
        base = f"/apis/{GROUP_VERSION}" if what == CUSTOM else "/api/v1"
        return f"{base}/namespaces/{self.name}/{what}"
