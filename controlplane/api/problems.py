"""Problems: everything that goes wrong, as RFC 9457 documents that name field, value and limit."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from pydantic_core import ErrorDetails, from_json
from starlette.exceptions import HTTPException

from controlplane.domain.errors import Invalid, PluginError, Unavailable, UserError
from controlplane.operations.idempotency import Replay
from controlplane.wire.base import MAX_INT, FieldProblem, Problem

MEDIA_TYPE: Final = "application/problem+json"
RETRY_AFTER_SECONDS: Final = 1
LONGEST_VALUE: Final = 120
MOST_FIELDS: Final = 50

SECRET_FIELDS: Final = frozenset({"token", "secret", "password"})
"""Their values are not repeated."""

LIMITS: Final = ("le", "lt", "ge", "gt", "max_length", "min_length", "pattern", "expected", "multiple_of")

Location = Sequence[str | int]

log = logging.getLogger(__name__)


class Refused(Invalid):
    """The request does not have the shape that it should have."""

    def __init__(self, fields: Sequence[FieldProblem]) -> None:
        super().__init__("; ".join(f"{each.field}: {each.message}" for each in fields[:3]))
        self.fields = tuple(fields[:MOST_FIELDS])


class UnsupportedMediaType(UserError):
    """The body is of a type that is not taken here."""

    code = "unsupported_media_type"
    http_code = 415


class TooBusy(Unavailable):
    """There are too many of these calls under way."""


def install(app: FastAPI) -> None:
    app.add_exception_handler(UserError, _user_error)
    app.add_exception_handler(RequestValidationError, _bad_parameters)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(Unavailable, _unavailable)
    app.add_exception_handler(PluginError, _unavailable)
    app.add_exception_handler(Replay, _replay)
    app.add_exception_handler(Exception, _bug)


def refused(error: ValidationError, body: bytes) -> Refused:
    """Every field that pydantic refused in a JSON body."""
    details = error.errors(include_url=False)
    is_json = not any(each["type"] == "json_invalid" for each in details)
    document = from_json(body) if is_json else None
    return Refused([_field(each, _path(each["loc"], document)) for each in details])


async def _user_error(request: Request, error: Exception) -> Response:
    return _rendered(request, problem_of(cast("UserError", error)))


async def _bad_parameters(request: Request, error: Exception) -> Response:
    details = cast("Sequence[ErrorDetails]", cast("RequestValidationError", error).errors())
    return await _user_error(request, Refused([_field(each, _joined(each["loc"][1:])) for each in details]))


async def _http_error(request: Request, error: Exception) -> Response:
    """What the framework itself refuses: unknown routes, wrong methods."""
    refusal = cast("HTTPException", error)
    code = {404: "not_found", 405: "method_not_allowed"}.get(refusal.status_code, "bad_request")
    title = str(refusal.detail)
    detail = f"{request.method} {request.url.path}: {title.lower()}"
    problem = _problem(refusal.status_code, code, title, detail)
    return _rendered(request, problem, headers=refusal.headers)


async def _unavailable(request: Request, error: Exception) -> Response:
    problem = _problem(503, "unavailable", "A part of the control plane is away for a while", str(error))
    return _rendered(request, problem, headers={"Retry-After": str(RETRY_AFTER_SECONDS)})


async def _replay(_request: Request, error: Exception) -> Response:
    before = cast("Replay", error).remembered
    headers = {"Idempotent-Replay": "true"}
    return Response(before.body, status_code=before.code, media_type="application/json", headers=headers)


async def _bug(request: Request, error: Exception) -> Response:
    """Says nothing of the inside; the log names the id, and the server writes the story behind it."""
    request_id = request.scope.get("request_id", "")
    log.error("request.failed %s %s", request_id, type(error).__name__)
    problem = _problem(500, "internal", "The server has a fault", "the server has a fault; it was logged")
    # The framework answers faults outside of the middleware that would name the request.
    return _rendered(request, problem, headers={"X-Request-Id": request_id})


def _rendered(request: Request, problem: Problem, *, headers: Mapping[str, str] | None = None) -> Response:
    named = problem.model_copy(update={"instance": request.scope.get("request_id")})
    body = named.model_dump_json()
    return Response(body, status_code=problem.status, media_type=MEDIA_TYPE, headers=headers)


def problem_of(error: UserError) -> Problem:
    if isinstance(error, Refused):
        return _problem(error.http_code, error.code, _title(Invalid), error.message, error.fields)
    title = _title(type(error))
    if error.field is None:
        return _problem(error.http_code, error.code, title, error.message)
    value, limit = None if _is_secret(error.field) else _short(error.value), _short(error.limit)
    field = FieldProblem(field=error.field, message=error.message, value=value, limit=limit)
    return _problem(error.http_code, error.code, title, f"{error.field}: {error.message}", [field])


def _problem(status: int, code: str, title: str, detail: str, fields: Sequence[FieldProblem] = ()) -> Problem:
    return Problem(
        type=f"/problems/{code}", title=title, status=status, detail=detail, code=code, fields=list(fields)
    )


def _title(kind: type[UserError]) -> str:
    return (kind.__doc__ or "").strip().rstrip(".")


def _field(detail: ErrorDetails, field: str) -> FieldProblem:
    context = detail.get("ctx") or {}
    limits = [context[name] for name in LIMITS if name in context]
    return FieldProblem(
        field=field or "body",
        message=_message(detail),
        value=None if _is_secret(field) else _short(detail["input"]),
        limit=_short(limits[0]) if limits else None,
    )


def _is_secret(field: str) -> bool:
    return field.rpartition(".")[2] in SECRET_FIELDS


def _message(detail: ErrorDetails) -> str:
    match detail["type"]:
        case "extra_forbidden":
            return "unknown field"
        case "missing":
            return "is missing"
        case "value_error":
            return str(detail["msg"]).removeprefix("Value error, ")
        case _:
            return str(detail["msg"])


def _path(location: Location, document: object) -> str:
    """Follows the location as far as the document goes: behind a value, pydantic names the branch it tried."""
    parts: list[str | int] = []
    for part in location:
        if not isinstance(document, dict | list):
            break
        parts.append(part)
        document = _child(document, part)
    return _joined(parts)


def _child(document: dict[str, Any] | list[Any], part: str | int) -> object:  # JSON values
    if isinstance(document, dict):
        return document.get(str(part))
    return document[part] if isinstance(part, int) and part < len(document) else None


def _joined(parts: Location) -> str:
    return ".".join(str(part) for part in parts)


def _short(value: object) -> object:
    """Fit for a JSON document of any reader. Objects and lists are not repeated: they may hold secrets."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return value if abs(value) <= MAX_INT else f"a whole number of {value.bit_length()} bits"
    if isinstance(value, float):
        return value if abs(value) < float("inf") else str(value)
    if isinstance(value, dict | list | tuple):
        return None
    text = str(value)
    return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}..."
