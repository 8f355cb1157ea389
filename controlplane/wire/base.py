"""What all documents share: strictness towards callers, tolerance towards newer servers, pages and problems."""

from datetime import UTC, datetime
from typing import Annotated, Any, Generic, TypeVar

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field

T = TypeVar("T")

MAX_INT = 2**53 - 1
"""The largest integer that every JSON reader keeps exact."""

Name = Annotated[
    str,
    Field(
        pattern=r"^[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?$",
        description="1-63 of a-z, 0-9, '.', '_', '-'",
        max_length=63,
    ),
]


def _in_utc(at: datetime) -> datetime:
    try:
        return at.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("lies outside the years 1 to 9999 of UTC") from error


Moment = Annotated[AwareDatetime, AfterValidator(_in_utc)]
"""With its offset, whatever that is; kept as UTC, in which a moment at either end of the calendar may not exist."""


class Request(BaseModel):
    """Sent by callers. Unknown fields are refused: a misspelt field must not be silently ignored."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class Answer(BaseModel):
    """Sent by servers. Unknown fields are ignored, so an older client can read a newer server."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class Page(Answer, Generic[T]):
    """One page of a list."""

    items: list[T]
    next: str | None = Field(default=None, description="Cursor of the next page; absent on the last one.")


class FieldProblem(Answer):
    """One field that was refused."""

    field: str = Field(description="Path of the field, e.g. `resources.gpus`.")
    message: str
    value: Any = Field(default=None, description="What was sent (shortened).")
    limit: Any = Field(default=None, description="The limit that it broke, where there is one.")


class Problem(Answer):
    """An error (RFC 9457, `application/problem+json`)."""

    type: str = Field(description="Stable URI reference of the kind of problem: `/problems/<code>`.")
    title: str
    status: int
    detail: str
    code: str = Field(description="Stable machine-readable word, e.g. `not_found`.")
    instance: str | None = Field(default=None, description="The request's trace id.")
    fields: list[FieldProblem] = Field(default_factory=list)
