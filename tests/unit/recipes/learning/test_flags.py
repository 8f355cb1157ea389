"""Settings say of every number where it may lie, and refuse what lies elsewhere."""

from dataclasses import fields
from typing import Any

import pytest

from controlplane.recipes.learning import flags
from controlplane.recipes.learning.compression.settings import Settings as Compression
from controlplane.recipes.learning.data.__main__ import Settings as Preparation
from controlplane.recipes.learning.evaluation.settings import Settings as Evaluation
from controlplane.recipes.learning.inference.settings import Settings as Inference
from controlplane.recipes.learning.mirrored.settings import Settings as Mirrored
from controlplane.recipes.learning.training.settings import Settings as Training

ALL = (Compression, Evaluation, Inference, Mirrored, Preparation, Training)
NEEDED: dict[Any, dict[str, Any]] = {
    Compression: {"model": "m"},
    Evaluation: {"models": {"m": "m.pt"}},
    Inference: {"model": "m", "data": "d"},
}


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        pytest.param(kind, field.name, id=f"{kind.__module__.split('.')[3]}-{field.name}")
        for kind in ALL
        for field in fields(kind)
        if type(field.default) in (int, float)
    ],
)
def test_every_number_has_a_limit_below_and_is_refused_there(kind: Any, name: str) -> None:  # noqa: ANN401 - a class
    needed = NEEDED.get(kind, {})
    kind(**needed)
    with pytest.raises(ValueError, match=f"{name} must be .* not -1"):
        kind(**needed, **{name: -1})


def test_a_range_says_what_it_allows() -> None:
    assert str(flags.Range(least=2, most=16)) == "at least 2 and at most 16"
    assert str(flags.Range(above=0)) == "above 0"
    assert [value for value in (0, 1, 1.5, 2, 3) if flags.Range(least=1, below=2).allows(value)] == [1, 1.5]
