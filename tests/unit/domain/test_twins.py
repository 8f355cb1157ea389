"""Twins: values that are made quickly are what they would have been."""

import copy
import dataclasses
import inspect
import pickle
from dataclasses import dataclass, field
from typing import Any

import pytest

from controlplane.domain.copies import replace
from controlplane.domain.twins import quick


@dataclass(frozen=True, slots=True, kw_only=True)
class Slow:
    name: str
    kind: int = 7
    parts: tuple[str, ...] = ()


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class Quick:
    name: str
    kind: int = 7
    parts: tuple[str, ...] = ()


def test_a_quick_value_is_of_its_class_and_equal_to_another_one() -> None:
    value = Quick(name="a", parts=("b",))

    assert type(value) is Quick
    assert value == Quick(name="a", kind=7, parts=("b",))
    assert value != Quick(name="a", kind=8, parts=("b",))
    assert hash(value) == hash(Slow(name="a", parts=("b",)))
    assert repr(value) == "Quick(name='a', kind=7, parts=('b',))"


def test_a_quick_value_is_frozen_and_has_no_room_for_more() -> None:
    value = Quick(name="a")
    with pytest.raises(dataclasses.FrozenInstanceError):
        value.kind = 8  # type: ignore[misc]
    assert not hasattr(value, "__dict__")


def test_what_a_factory_makes_is_made_for_each_anew() -> None:
    @quick
    @dataclass(frozen=True, slots=True, kw_only=True)
    class WithADict:
        data: dict[str, int] = field(default_factory=dict)

    first, second = WithADict(), WithADict()
    first.data["a"] = 1

    assert second == WithADict(data={})
    assert WithADict(data={"b": 2}).data == {"b": 2}


def test_wrong_arguments_are_refused_as_they_would_be() -> None:
    kinds: tuple[Any, ...] = (Slow, Quick)  # to a type checker the calls are as wrong
    for kind in kinds:
        with pytest.raises(TypeError, match="missing 1 required keyword-only argument: 'name'"):
            kind()
        with pytest.raises(TypeError, match="unexpected keyword argument 'colour'"):
            kind(name="a", colour="red")
        with pytest.raises(TypeError, match="positional"):
            kind("a")


def test_a_quick_class_keeps_its_signature() -> None:
    quick_one, slow_one = inspect.signature(Quick), inspect.signature(Slow)

    assert list(quick_one.parameters) == list(slow_one.parameters)
    assert {each.name: each.default for each in quick_one.parameters.values()} == {
        each.name: each.default for each in slow_one.parameters.values()
    }
    assert Quick.__init__.__annotations__ == Slow.__init__.__annotations__


def test_copies_of_all_kinds_are_equal() -> None:
    value = Quick(name="a", parts=("b",))

    assert copy.copy(value) == copy.deepcopy(value) == pickle.loads(pickle.dumps(value)) == value  # noqa: S301
    assert (
        replace(value, kind=8) == dataclasses.replace(value, kind=8) == Quick(name="a", kind=8, parts=("b",))
    )
    assert type(replace(value, kind=8)) is Quick


def test_what_has_more_to_do_at_birth_is_refused() -> None:
    @dataclass(frozen=True, slots=True)
    class InOrder:
        name: str

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Checks:
        name: str

        def __post_init__(self) -> None:
            raise ValueError

    for kind in (InOrder, Checks):
        with pytest.raises(TypeError, match="does more at birth"):
            quick(kind)
