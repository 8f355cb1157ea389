"""What can go wrong for a caller.

ClientFault
├── ApiProblem         the server refused; carries its `problem`
│   ├── Invalid              400 or 422, names the field, the value and the limit
│   ├── Unauthenticated      401
│   ├── Forbidden            403
│   ├── NotFound             404
│   ├── Conflict             409
│   ├── Gone                 410
│   ├── TooLarge             413
│   └── ServerFault          500
├── Unreachable        no server took the request; a POST may have been done, its key makes trying again safe
├── Timeout            a wait took longer than allowed; the job goes on
├── JobFailed          a checked wait ended with a job that did not succeed; carries its `document`
├── BadFolder          the working directory cannot be shipped as it is
└── Misconfigured      no server is known, or its address must not be used
"""

from typing import Final

import httpx
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from controlplane.wire.base import FieldProblem, Problem
from controlplane.wire.jobs import JobDocument

LONGEST_VALUE: Final = 120
"""Characters of a refused value that are repeated in the problem."""

NOT_REPEATED: Final = frozenset({"token"})
"""Fields whose value is a secret."""

LIMITS: Final = frozenset({"le", "lt", "ge", "gt", "max_length", "min_length", "pattern", "expected"})


class ClientFault(Exception):
    """Something went wrong."""


class ApiProblem(ClientFault):
    """The server refused the request."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.detail)
        self.problem = problem


class Invalid(ApiProblem):
    """A field has a value that is not allowed."""


class Unauthenticated(ApiProblem):
    """No valid token was sent."""


class Forbidden(ApiProblem):
    """The token's role does not allow this."""


class NotFound(ApiProblem):
    """There is no such object, or not for this token."""


class Conflict(ApiProblem):
    """The object is not in a state that allows this."""


class Gone(ApiProblem):
    """It was there and is over."""


class TooLarge(ApiProblem):
    """More bytes than the server takes."""


class ServerFault(ApiProblem):
    """The server failed; it says no more than that."""


class Unreachable(ClientFault):
    """No server took the request."""

    def __init__(self, message: str, *, retry_after_seconds: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class Timeout(ClientFault):
    """The wait took longer than allowed; the job goes on."""


class JobFailed(ClientFault):
    """The job did not succeed."""

    def __init__(self, document: JobDocument) -> None:
        why = f": {document.reason}" if document.reason else ""
        super().__init__(f"job {document.id} ({document.name}) {document.state}{why}")
        self.document = document


class BadFolder(ClientFault):
    """The working directory cannot be shipped as it is."""


class Misconfigured(ClientFault):
    """No server is known, or its address must not be used."""


_BY_HTTP_CODE: dict[int, type[ApiProblem]] = {
    400: Invalid,
    401: Unauthenticated,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    410: Gone,
    413: TooLarge,
    422: Invalid,
}


def refusal(response: httpx.Response) -> ApiProblem:
    """What an answer of 400 or above means."""
    try:
        problem = Problem.model_validate_json(response.content)
    except ValidationError:  # not ours: a proxy in between, or another server
        problem = Problem(
            type="about:blank",
            title=response.reason_phrase,
            status=response.status_code,
            detail=f"{response.request.method} {response.request.url} was answered with {response.status_code}",
            code=f"http_{response.status_code}",
        )
    fallback = ServerFault if response.is_server_error else ApiProblem
    return _BY_HTTP_CODE.get(response.status_code, fallback)(problem)


def invalid_here(error: ValidationError) -> Invalid:
    """The same refusal as the server's, for what already the client can see."""
    fields = [_field(each) for each in error.errors(include_url=False)]
    return Invalid(
        Problem(
            type="/problems/invalid",
            title="A field has a value that is not allowed",
            status=422,
            detail="; ".join(f"{each.field}: {each.message}" for each in fields),
            code="invalid",
            fields=fields,
        )
    )


def _field(detail: ErrorDetails) -> FieldProblem:
    name = ".".join(str(part) for part in detail["loc"]) or "body"
    limits = [value for key, value in detail.get("ctx", {}).items() if key in LIMITS]
    return FieldProblem(
        field=name,
        message=detail["msg"],
        value=None if name in NOT_REPEATED else str(detail["input"])[:LONGEST_VALUE],
        limit=limits[0] if limits else None,
    )
