"""Copies: a frozen value with some fields changed, at a fifth of what `dataclasses.replace` takes for it.

Every move of every noun is such a copy, and most of what the loops compute is moves.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:  # type checkers know the original, and compare the names and types of the fields
    from dataclasses import replace
else:
    from typing import TypeVar

    from controlplane.domain.twins import copier_of

    V = TypeVar("V")

    def replace(value: V, /, **changes: object) -> V:
        """For slotted dataclasses, all of whose fields are arguments, with nothing to do after birth."""
        kind = type(value)
        copy = copier_of(kind)(value)
        for name, new in changes.items():
            try:
                setattr(copy, name, new)
            except AttributeError:
                raise TypeError(f"{kind.__name__} has no field {name!r}") from None
        copy.__class__ = kind
        return copy


__all__ = ["replace"]
