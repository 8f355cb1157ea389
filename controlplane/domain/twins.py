"""Twins: how frozen values are made at a third of the usual cost.

A frozen dataclass cannot assign to its own fields, so each goes through `object.__setattr__`. Its twin has the same
slots and may be assigned to: a value is filled as its twin and then becomes what it is. Most of what the loops compute
is such values.
"""

from collections.abc import Callable
from dataclasses import MISSING, Field, fields
from functools import cache
from typing import Any, Final, TypeVar

V = TypeVar("V")

# `Any`: of which class they are, and what its fields hold, is the caller's affair.
Copier = Callable[[Any], Any]
_BECOMES: Final = object.__setattr__


def quick(kind: type[V]) -> type[V]:
    """Over `@dataclass(frozen=True, slots=True, kw_only=True)`, for what is made thousands of times a second.

    The class stays what it was but for the time that its birth takes. Raises `TypeError` for a class that has more to
    do at birth than to keep its arguments.
    """
    every = fields(kind)  # type: ignore[arg-type] # of a dataclass, or this raises
    if hasattr(kind, "__post_init__") or kind.__bases__ != (object,) or not all(map(_is_plain, every)):
        raise TypeError(f"{kind.__name__} does more at birth than to keep arguments that have names")
    old = kind.__init__
    # Of a field with a factory this is what stands for its absence.
    defaults = {f"_default_of_{name}": value for name, value in (old.__kwdefaults__ or {}).items()}
    factories = {f"_new_{each.name}": each.default_factory for each in every if _has_factory(each)}
    arguments = ", ".join(
        f"{each.name}=_default_of_{each.name}" if f"_default_of_{each.name}" in defaults else each.name
        for each in every
    )
    stores = "".join(f"  self.{each.name} = {_stored(each)}\n" for each in every)
    stores = f"  _becomes(self, '__class__', _twin)\n{stores}  self.__class__ = _kind\n"
    text = f"def __init__(self, *, {arguments}):\n{stores}"
    # No field's name begins like these.
    known = {**defaults, **factories, "_becomes": _BECOMES, "_twin": twin_of(kind), "_kind": kind}
    birth = _made("__init__", text, known)
    birth.__annotations__, birth.__qualname__ = old.__annotations__, old.__qualname__
    kind.__init__ = birth  # type: ignore[method-assign] # with the signature that it had
    return kind


def twin_of(kind: type[Any]) -> type[object]:
    names = tuple(each.name for each in fields(kind))
    return type(kind.__name__, (), {"__slots__": names})


@cache
def copier_of(kind: Any) -> Copier:  # noqa: ANN401 - a dataclass
    """Makes a twin that holds what a value of that kind holds."""
    twin = twin_of(kind)
    names = [each.name for each in fields(kind)]
    stores = "".join(f"  copy.{name} = value.{name}\n" for name in names)
    text = f"def copied(value):\n  copy = new(twin)\n{stores}  return copy\n"
    copier: Copier = _made("copied", text, {"new": object.__new__, "twin": twin})
    return copier


def _is_plain(field: Field[object]) -> bool:
    return field.init and bool(field.kw_only)


def _has_factory(field: Field[object]) -> bool:
    return field.default_factory is not MISSING


def _stored(field: Field[object]) -> str:
    name = field.name
    return f"_new_{name}() if {name} is _default_of_{name} else {name}" if _has_factory(field) else name


def _made(name: str, text: str, known: dict[str, object]) -> Any:  # noqa: ANN401 - a function
    exec(text, known)  # noqa: S102 - as dataclasses make theirs: of the names of fields alone
    return known[name]
