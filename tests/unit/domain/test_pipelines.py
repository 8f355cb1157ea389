"""Pipelines: what is wrong with a graph is said with step, value and limit."""

import re

import pytest

from controlplane.domain.errors import Invalid
from controlplane.domain.pipelines import (
    MOST_ARTIFACTS,
    MOST_STEPS,
    ArtifactKind,
    Input,
    Output,
    PlannedStep,
    StepKind,
    cache_key,
    pipeline_of,
)


def step(name: str, *reads: str, after: tuple[str, ...] = (), **fields: object) -> PlannedStep:
    """Makes `made`; `reads` are names of steps, or `step.output`."""
    made = Output(name="made", kind=ArtifactKind.FILE, path="x")
    inputs = tuple(
        Input(
            name=f"from-{each.partition('.')[0]}",
            step=each.partition(".")[0],
            output=each.partition(".")[2] or "made",
        )
        for each in reads
    )
    given = {"kind": StepKind.JOB, "substance": name, "inputs": inputs, "outputs": (made,), "after": after}
    return PlannedStep(name=name, **{**given, **fields})  # type: ignore[arg-type] # the fields' own


MANY = tuple(
    Output(name=f"o{number}", kind=ArtifactKind.FILE, path="x") for number in range(MOST_ARTIFACTS + 1)
)
TWINS = (Input(name="a.b", step="a", output="made"), Input(name="a-b", step="a", output="made"))
ASKS = (Input(name="x", step="a", output="made", kinds=(ArtifactKind.MODEL,)),)


@pytest.mark.parametrize(
    ("steps", "field", "value", "sentence"),
    [
        ([], "steps", 0, "a pipeline has 1 to 256 steps, not 0"),
        (
            [step(f"s{number}") for number in range(MOST_STEPS + 1)],
            "steps",
            MOST_STEPS + 1,
            "a pipeline has 1 to 256 steps, not 257",
        ),
        ([step("a"), step("a")], "steps.1.name", "a", "two steps are named 'a'"),
        (
            [step("a", "b")],
            "steps.0.inputs.from-b",
            "steps.b.outputs.made",
            "step 'a' reads steps.b.outputs.made, and there is no step 'b'",
        ),
        (
            [step("a"), step("b", "a.other")],
            "steps.1.inputs.from-a",
            "steps.a.outputs.other",
            "step 'b' reads steps.a.outputs.other, which step 'a' does not make",
        ),
        ([step("a", after=("b",))], "steps.0.after", "b", "step 'a' waits for no known step"),
        (
            [step("a", "c"), step("b", "a"), step("c", after=("b",))],
            "steps",
            "a -> c -> b -> a",
            "the steps need each other: ",
        ),
        ([step("a", "a")], "steps", "a -> a", "the steps need each other: "),
        (
            [step("a", outputs=MANY)],
            "steps.0.outputs",
            MOST_ARTIFACTS + 1,
            "step 'a' has 65 outputs, at most 64 are allowed",
        ),
        (
            [step("a"), step("b", inputs=TWINS)],
            "steps.1.inputs",
            "a-b",
            "step 'b': the inputs 'a.b' and 'a-b' are both told as INPUT_A_B",
        ),
        (
            [step("a"), step("b", inputs=ASKS)],
            "steps.1.inputs.x",
            "file",
            "step 'b' asks for steps.a.outputs.made as model, and it is a file",
        ),
    ],
)
def test_a_graph_that_cannot_be_is_refused(
    steps: list[PlannedStep], field: str, value: object, sentence: str
) -> None:
    with pytest.raises(Invalid) as refused:
        pipeline_of("p", steps)
    assert refused.value.field == field
    assert refused.value.message.startswith(sentence)
    if field != "steps" or not isinstance(value, str):
        assert refused.value.value == value
    else:
        # A cycle may be told from any of its steps.
        assert sorted(re.split(" -> ", str(refused.value.value))[1:]) == sorted(re.split(" -> ", value)[1:])


def test_steps_may_be_written_down_in_any_order() -> None:
    assert [each.name for each in pipeline_of("p", [step("b", "a"), step("a")]).steps] == ["b", "a"]


def test_the_cache_key_is_of_content_and_of_nothing_else() -> None:
    one = step("a", "b")
    key = cache_key(one, {"x": "1", "y": "2"})
    assert cache_key(step("a", retries=3), {"y": "2", "x": "1"}) == key
    assert cache_key(one, {"x": "1", "y": "3"}) != key
    assert cache_key(one, {"x": "2", "y": "1"}) != key
    assert cache_key(step("other"), {"x": "1", "y": "2"}) != key
