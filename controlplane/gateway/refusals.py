"""Refusals: what a gateway says itself, where no replica did, as RFC 9457 documents and as gRPC codes."""

from dataclasses import dataclass
from typing import Final

from controlplane.domain.errors import ControlPlaneError, PluginError, Unavailable, UserError
from controlplane.wire.base import FieldProblem, Problem

MEDIA_TYPE: Final = "application/problem+json"
LONGEST_VALUE: Final = 120


class TooMany(UserError):
    """There are more requests than the service takes."""

    code = "too_many_requests"
    http_code = 429

    def __init__(self, message: str, *, limit: object, retry_after_seconds: float) -> None:
        super().__init__(message, field="requests", limit=limit)
        self.retry_after_seconds = retry_after_seconds


class TooSlow(UserError):
    """The request took too long to arrive, or its answer to be taken."""

    code = "request_timeout"
    http_code = 408


class NoReplica(Unavailable):
    """No replica of the service could take the request in time."""

    def __init__(self, message: str, *, retry_after_seconds: float) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class Late(PluginError):
    """The replica did not answer in time."""


class BrokenOff(PluginError):
    """The replica broke off before it answered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """One answer of the gateway's own."""

    status: int
    code: str
    title: str
    detail: str
    fields: tuple[FieldProblem, ...] = ()
    retry_after_seconds: float | None = None

    def document(self, request_id: str) -> Problem:
        return Problem(
            type=f"/problems/{self.code}",
            title=self.title,
            status=self.status,
            detail=self.detail,
            code=self.code,
            instance=request_id,
            fields=list(self.fields),
        )


def refusal_of(error: ControlPlaneError) -> Refusal:
    """Of anything but a bug."""
    title = (type(error).__doc__ or "").strip().rstrip(".")
    retry_after: float | None = getattr(error, "retry_after_seconds", None)
    if isinstance(error, UserError):
        return Refusal(
            status=error.http_code,
            code=error.code,
            title=title,
            detail=error.message,
            fields=_fields(error),
            retry_after_seconds=retry_after,
        )
    status, code = _of_ours(error)
    if code == "unavailable" and retry_after is None:
        retry_after = 1.0
    return Refusal(
        status=status, code=code, title=title, detail=error.message, retry_after_seconds=retry_after
    )


def _of_ours(error: ControlPlaneError) -> tuple[int, str]:
    match error:
        case NoReplica():
            return 503, "no_replica"
        case Late():
            return 504, "deadline_exceeded"
        case BrokenOff():
            return 502, "broken_off"
        case Unavailable() | PluginError():
            return 503, "unavailable"
        case _:
            return 500, "internal"


def _fields(error: UserError) -> tuple[FieldProblem, ...]:
    if error.field is None:
        return ()
    problem = FieldProblem(
        field=error.field, message=error.message, value=_short(error.value), limit=_short(error.limit)
    )
    return (problem,)


def _short(value: object) -> object:
    return value if value is None or isinstance(value, int | float) else str(value)[:LONGEST_VALUE]
