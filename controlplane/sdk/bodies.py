"""Bodies of requests, checked before anything is sent."""

from typing import TypeVar

from pydantic import BaseModel, ValidationError

from controlplane.sdk.errors import invalid_here

T = TypeVar("T", bound=BaseModel)


def body(kind: type[T], **given: object) -> str:
    """Raises `Invalid` naming each field that cannot be right."""
    try:
        return kind.model_validate(given).model_dump_json()
    except ValidationError as error:
        raise invalid_here(error) from error
