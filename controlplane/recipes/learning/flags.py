"""Flags: a dataclass of settings, read from a command line."""

import dataclasses
import json
import math
from argparse import ArgumentParser, ArgumentTypeError, BooleanOptionalAction
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any, NamedTuple, TypeVar, get_type_hints

T = TypeVar("T")


class Range(NamedTuple):
    """Where the number of a setting may lie, which is finite in any case."""

    least: float = -math.inf
    most: float = math.inf
    above: float = -math.inf
    below: float = math.inf

    def allows(self, value: float) -> bool:
        return math.isfinite(value) and self.least <= value <= self.most and self.above < value < self.below

    def __str__(self) -> str:
        limits = {"at least": self.least, "above": self.above, "at most": self.most, "below": self.below}
        told = [f"{words} {limit:.15g}" for words, limit in limits.items() if math.isfinite(limit)]
        return " and ".join(told) or "finite"


def said(default: Any, text: str = "", **limits: float) -> Any:  # noqa: ANN401 - whatever the field's type is
    """A field of settings with its explanation. A number's `limits` are those of `Range`."""
    allowed = {"range": Range(**limits)} if limits else {}
    return dataclasses.field(default=default, metadata={"help": text, **allowed})


def require_ranges(settings: object) -> None:
    """Raises ValueError for the first number that lies outside of its range."""
    for field in dataclasses.fields(settings):  # type: ignore[arg-type] # all settings are dataclasses
        value, allowed = getattr(settings, field.name), field.metadata.get("range")
        if allowed is not None and not allowed.allows(value):
            raise ValueError(f"{field.name} must be {allowed}, not {value:.15g}")


def parse(kind: type[T], arguments: Sequence[str] | None, *, prog: str, description: str) -> T:
    """One flag for each field: `batch_examples` is `--batch-examples`. `metadata["help"]` explains it.

    What the dataclass refuses with ValueError ends the program with code 2 and its message.
    """
    parser = ArgumentParser(prog=prog, description=description)
    types = get_type_hints(kind)
    for field in dataclasses.fields(kind):  # type: ignore[arg-type] # every `kind` is a dataclass
        _add(parser, field, types[field.name])
    values = vars(parser.parse_args(arguments))
    try:
        return kind(**values)
    except ValueError as refused:
        parser.error(str(refused))


def _add(parser: ArgumentParser, field: "dataclasses.Field[Any]", kind: Any) -> None:  # noqa: ANN401 - a type
    options: dict[str, Any] = {"type": kind, "default": field.default}
    if kind is bool:
        options = {"action": BooleanOptionalAction, "default": field.default}
    elif not isinstance(kind, type):  # Mapping[str, Any]
        options = {"type": _mapping, "default": {}}
    elif issubclass(kind, StrEnum):
        options["choices"] = tuple(kind)
    explained = f"{field.metadata.get('help', '')} (default: %(default)s)".strip()
    parser.add_argument(f"--{field.name.replace('_', '-')}", help=explained, **options)


def _mapping(text: str) -> Mapping[str, Any]:
    read = json.loads(text)
    if not isinstance(read, dict):
        raise ArgumentTypeError(f"must be a JSON object, not {text}")
    return read
