"""Copies: a frozen value with some fields changed, at less than half of what `dataclasses.replace` takes for it.

Every move of every noun is such a copy, and most of what the loops compute is moves.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:  # type checkers know the original, and compare the names and types of the fields
    from dataclasses import replace
else:
    from collections.abc import Callable
    from dataclasses import fields
    from functools import cache
    from operator import attrgetter
    from typing import TypeVar

    V = TypeVar("V")

    def replace(value: V, /, **changes: object) -> V:
        """For slotted dataclasses with two fields or more, all of them arguments, and nothing to do after birth."""
        kind = type(value)
        names, fields_of, setters = _shape(kind)
        if not changes.keys() <= setters.keys():
            raise TypeError(f"{kind.__name__} has no field {sorted(changes.keys() - setters.keys())}")
        copy = object.__new__(kind)
        for name, old in zip(names, fields_of(value), strict=True):
            setters[name](copy, changes.get(name, old))
        return copy

    @cache
    def _shape(
        kind: type[V],
    ) -> tuple[tuple[str, ...], Callable[[V], tuple[object, ...]], dict[str, Callable[[V, object], None]]]:
        """Names, all values at once, and what sets a slot of a value that nobody has seen yet."""
        names = tuple(field.name for field in fields(kind))
        return names, attrgetter(*names), {name: getattr(kind, name).__set__ for name in names}


__all__ = ["replace"]
