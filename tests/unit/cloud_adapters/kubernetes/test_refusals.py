"""Each answer of an API server has one meaning."""

import json

import pytest

from cloud_adapters.base import (
    Ambiguous,
    AuthFailed,
    PluginError,
    QuotaExceeded,
    Rejected,
    Throttled,
    Transient,
)
from cloud_adapters.kubernetes.refusals import (
    Absent,
    Call,
    Exists,
    Expired,
    MissingRight,
    Unknown,
    refusal,
)

LOOK = Call(verb="list", what="pods", namespace="ml")
DEED = Call(verb="create", what="pods", namespace="ml", name="p", writes=True)


def body(message: str, reason: str = "") -> bytes:
    return json.dumps({"kind": "Status", "reason": reason, "message": message}).encode()


@pytest.mark.parametrize(
    ("call", "code", "text", "kind"),
    [
        (LOOK, 400, b"", Rejected),
        (LOOK, 401, b"", AuthFailed),
        (LOOK, 404, body("pods p not found", "NotFound"), Absent),
        (DEED, 404, body("namespaces ml not found", "NotFound"), Absent),
        (LOOK, 404, b"", Unknown),
        (LOOK, 404, b"404 page not found", Unknown),
        (DEED, 404, b"default backend - 404", Unknown),
        (LOOK, 404, b'{"reason": "NotFound", "message": "no such route"}', Unknown),
        (DEED, 409, body("pods p exists", "AlreadyExists"), Exists),
        (DEED, 409, body("object has been modified", "Conflict"), Transient),
        (LOOK, 410, b"", Expired),
        (DEED, 422, body("spec is wrong", "Invalid"), Rejected),
        (LOOK, 429, b"", Throttled),
        (LOOK, 500, b"", Transient),
        (DEED, 500, b"", Ambiguous),
        (DEED, 503, b"<html>", Ambiguous),
        (DEED, 403, body('pods "p" is forbidden: exceeded quota: gpu, requested: cpu=8'), QuotaExceeded),
        (DEED, 403, body("admission webhook denied the request: no"), Rejected),
        (LOOK, 403, body("no"), MissingRight),
    ],
)
def test_each_answer_has_one_meaning(call: Call, code: int, text: bytes, kind: type[PluginError]) -> None:
    assert type(refusal(call, code, text, {})) is kind


def test_a_missing_right_is_named_with_verb_kind_group_and_namespace() -> None:
    said = (
        'rayclusters.ray.io is forbidden: User "system:serviceaccount:x:y" cannot create resource "rayclusters" '
        'in API group "ray.io" in the namespace "ml"'
    )
    told = refusal(DEED, 403, body(said), {})
    assert isinstance(told, MissingRight)
    assert told.message == "may not create rayclusters.ray.io in namespace ml"


def test_a_missing_right_in_the_whole_cluster_is_named_so() -> None:
    said = 'nodes is forbidden: User "u" cannot watch resource "nodes" in API group "" at the cluster scope'
    assert refusal(LOOK, 403, body(said), {}).message == "may not watch nodes in the whole cluster"


@pytest.mark.parametrize(
    ("headers", "seconds"), [({"Retry-After": "7"}, 7.0), ({"Retry-After": "x"}, 1.0), ({}, 1.0)]
)
def test_throttling_says_how_long_to_wait(headers: dict[str, str], seconds: float) -> None:
    told = refusal(LOOK, 429, b"", headers)
    assert isinstance(told, Throttled)
    assert told.retry_after_seconds == seconds
