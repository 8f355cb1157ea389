"""Everything that can go wrong, by who can do something about it.

ControlPlaneError
├── UserError        the caller can fix it; a 4xx with a stable `code`
│   ├── Invalid            422, names the field, the value and the limit
│   ├── Unauthenticated    401
│   ├── Forbidden          403
│   ├── NotFound           404
│   ├── Conflict           409
│   │   ├── StaleWrite         another writer was first
│   │   ├── GateNotPassed      a model version is not good enough to be promoted
│   │   └── KeyReused          an idempotency key came back with another body
│   ├── Gone               410, the attempt is over or fenced
│   │   └── NoLongerKept       it was there, and was pruned
│   └── TooLarge           413
├── PluginError      an adapter, executor or object store failed
│   ├── Transient          try again
│   │   └── Throttled          try again after `retry_after_seconds`
│   ├── Ambiguous          it may have happened: the only legal reaction is to look
│   ├── NoCapacity         this offer or node cannot hold it now
│   ├── Rejected           the request will never work as it is
│   ├── AuthFailed         our credentials were refused
│   └── QuotaExceeded      the account's own limit
├── Unavailable      a part of ours is away for a while (database locked or gone); everything pauses
└── Bug              an invariant is broken; log the story, page a human
    └── IllegalTransition
"""

from typing import ClassVar


class ControlPlaneError(Exception):
    """Something went wrong."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (type(self).__doc__ or "").strip().rstrip("."))

    @property
    def message(self) -> str:
        """The sentence for people: object, number, limit."""
        return str(self.args[0])


class UserError(ControlPlaneError):
    """The request cannot be served as it is."""

    code: ClassVar[str] = "bad_request"
    http_code: ClassVar[int] = 400

    def __init__(
        self,
        message: str | None = None,
        *,
        field: str | None = None,
        value: object = None,
        limit: object = None,
    ) -> None:
        super().__init__(message)
        self.field = field
        self.value = value
        self.limit = limit


class Invalid(UserError):
    """A field has a value that is not allowed."""

    code = "invalid"
    http_code = 422


class Unauthenticated(UserError):
    """No valid token was sent."""

    code = "unauthenticated"
    http_code = 401


class Forbidden(UserError):
    """The token's role does not allow this."""

    code = "forbidden"
    http_code = 403


class NotFound(UserError):
    """There is no such object, or not for this token."""

    code = "not_found"
    http_code = 404


class Conflict(UserError):
    """The object is not in a state that allows this."""

    code = "conflict"
    http_code = 409


class StaleWrite(Conflict):
    """Another writer changed the object first."""

    code = "stale_write"


class GateNotPassed(Conflict):
    """A gate of the model keeps the version out of production."""

    code = "gate_not_passed"


class KeyReused(Conflict):
    """The idempotency key was used before with another request body."""

    code = "idempotency_key_reused"


class Gone(UserError):
    """The attempt is over or was fenced off."""

    code = "gone"
    http_code = 410


class NoLongerKept(Gone):
    """What was asked for is older than what is kept."""

    code = "no_longer_kept"


class TooLarge(UserError):
    """The upload is larger than the limit."""

    code = "too_large"
    http_code = 413


class PluginError(ControlPlaneError):
    """An adapter, an executor or an object store failed."""


class Transient(PluginError):
    """It did not happen; trying again may help."""


class Throttled(Transient):
    """Too many calls; try again later."""

    def __init__(self, message: str | None = None, *, retry_after_seconds: float) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class Ambiguous(PluginError):
    """It may have happened; look before acting again."""


class NoCapacity(PluginError):
    """This offer or node cannot hold it now."""


class Rejected(PluginError):
    """The request will never work as it is."""


class AuthFailed(PluginError):
    """Our credentials were refused."""


class QuotaExceeded(PluginError):
    """The account's own limit was reached."""


class Unavailable(ControlPlaneError):
    """A part of the control plane is away for a while."""


class Bug(ControlPlaneError):
    """An invariant is broken."""


class IllegalTransition(Bug):
    """A state machine was asked for an edge that it does not have."""
