"""What a namespace holds is what Kubernetes says, and not what a proxy in between does not know."""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import pytest

from cloud_adapters.base import Rejected, Transient
from cloud_adapters.kubernetes import building
from cloud_adapters.kubernetes.namespace import CUSTOM, Json, Namespace
from cloud_adapters.kubernetes.refusals import Call, refusal

LOST = b"default backend - 404"
UNKNOWN_PATH = b"404 page not found"
NOT_FOUND = b'{"kind": "Status", "reason": "NotFound", "message": "it is not there"}'
EMPTY = b'{"metadata": {}, "items": []}'
GROUPS = b'{"kind": "APIGroupList", "groups": [{"name": "apps", "versions": [{"groupVersion": "apps/v1"}]}]}'
WITH_RAY = (
    b'{"kind": "APIGroupList", "groups": [{"name": "ray.io", "versions": [{"groupVersion": "ray.io/v1"}]}]}'
)
RESOURCES = b'{"kind": "APIResourceList", "resources": [{"name": "rayclusters"}]}'
RAYCLUSTERS = "/apis/ray.io/v1/namespaces/ml/rayclusters"


@dataclass(slots=True, kw_only=True)
class Answers:
    """An API server behind a proxy: a 404 with `lost` for whatever has no answer here."""

    known: Mapping[str, bytes] = field(default_factory=dict)
    lost: bytes = LOST

    def get(self, call: Call, path: str, _query: Mapping[str, str], *, until: float) -> Json:
        assert until > time.monotonic()
        if path not in self.known:
            raise refusal(call, 404, self.lost, {})
        told: Json = json.loads(self.known[path])
        return told

    def apply(self, call: Call, path: str, _body: Json, *, until: float) -> Json:
        return self.get(call, path, {}, until=until)

    def delete(self, call: Call, path: str, _body: Json, *, until: float) -> Json:
        return self.get(call, path, {}, until=until)


def space(known: Mapping[str, bytes] | None = None, *, lost: bytes = LOST) -> Namespace:
    answers = Answers(known=known or {}, lost=lost)
    return Namespace(answers, "ml", until=time.monotonic() + 60)  # type: ignore[arg-type] # of its calls, these


@pytest.mark.parametrize(
    "ask",
    [
        lambda space: building.list_owned(space, "c"),
        lambda space: building.terminate(space, "c", "claim"),
        lambda space: building.release(space, "c", "claim", ["m"]),
        lambda space: building.leftovers(space, "c"),
        lambda space: space.list("pods", {}),
        lambda space: space.list(CUSTOM, {}),
        lambda space: space.get("configmaps", "m"),
        lambda space: space.node("n"),
        lambda space: space.delete("pods", "p"),
        lambda space: space.has_kuberay(),
    ],
)
def test_a_404_of_a_proxy_is_not_taken_for_nothing(ask: Callable[[Namespace], object]) -> None:
    with pytest.raises(Transient, match="404 default backend"):
        ask(space())


def test_what_kubernetes_says_is_gone_is_gone() -> None:
    gone = space(lost=NOT_FOUND)
    assert (gone.get("configmaps", "m"), gone.node("n")) == (None, None)
    gone.delete("pods", "p")


def test_only_a_kind_that_can_be_missing_may_be_absent_from_lists() -> None:
    with pytest.raises(Transient, match="it is not there"):
        space({"/apis": GROUPS}, lost=NOT_FOUND).list("pods", {})


@pytest.mark.parametrize("lost", [UNKNOWN_PATH, NOT_FOUND])
def test_there_are_no_rayclusters_where_the_api_server_lists_no_such_kind(lost: bytes) -> None:
    without = space({"/apis": GROUPS}, lost=lost)
    assert not without.has_kuberay()
    assert without.list(CUSTOM, {}) == ()
    with pytest.raises(Rejected, match="KubeRay is not installed"):
        space({"/apis": GROUPS}, lost=UNKNOWN_PATH).apply(CUSTOM, {"metadata": {"name": "r"}})


def test_rayclusters_of_a_known_kind_are_never_absent() -> None:
    known = {"/apis": WITH_RAY, "/apis/ray.io/v1": RESOURCES}
    assert space({**known, RAYCLUSTERS: EMPTY}).list(CUSTOM, {}) == ()
    with pytest.raises(Transient, match="list rayclusters in namespace ml: 404"):
        space(known).list(CUSTOM, {})
    with pytest.raises(Transient, match="apply rayclusters r"):
        space(known).apply(CUSTOM, {"metadata": {"name": "r"}})


def test_something_else_than_a_list_of_groups_tells_nothing() -> None:
    with pytest.raises(Transient, match="is no APIGroupList"):
        space({"/apis": b'{"status": "ok"}'}).list(CUSTOM, {})
