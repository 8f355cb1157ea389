"""Pipelines: graphs of steps whose artifacts are handed from one to the next. A pipeline never changes.

What a step runs is not decided on here, so it is one text, its `substance`: two steps of equal substance and equal
inputs make the same.
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from graphlib import CycleError, TopologicalSorter
from typing import Final

from controlplane.domain.errors import Invalid

MOST_STEPS: Final = 256
MOST_ARTIFACTS: Final = 64
"""Inputs, and outputs, of one step."""

VARIABLE_PREFIX: Final = "INPUT_"
PUBLISHED: Final = "version"
"""Name of the output of a step that publishes."""

_NO_VARIABLE: Final = re.compile(r"[^A-Z0-9_]")


class ArtifactKind(StrEnum):
    """What sort of thing it is; a step that asks for one kind is given no other."""

    DATASET = "dataset"
    MODEL = "model"
    METRICS = "metrics"
    REPORT = "report"
    FILE = "file"
    VERSION = "version"
    """A version of a model in the registry, `model://project/model/number`; made by publishing alone."""


class StepKind(StrEnum):
    JOB = "job"
    PUBLISH = "publish"
    """Makes a version of a model in the registry."""

    DEPLOY = "deploy"
    """Makes the next revision of a service, or the service; done when the revision is ready."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """Reads as `steps.<step>.outputs.<output>`."""

    name: str
    step: str
    output: str
    kinds: tuple[ArtifactKind, ...] = ()
    """One of these; empty: any."""

    @property
    def reference(self) -> str:
        return f"steps.{self.step}.outputs.{self.output}"

    @property
    def variable(self) -> str:
        """Of the environment, in which a job is told its URI."""
        return VARIABLE_PREFIX + _NO_VARIABLE.sub("_", self.name.upper())


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    name: str
    kind: ArtifactKind
    path: str
    """Below the step's folder of outputs: an object, or with `/` at its end all that is below."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedStep:
    """A step as it stands in the pipeline. Its state is a `Step`."""

    name: str
    kind: StepKind
    substance: str
    """JSON with sorted keys: what it runs, without what changes nothing about the result."""

    inputs: tuple[Input, ...] = ()
    outputs: tuple[Output, ...] = ()
    after: tuple[str, ...] = ()
    """Steps that must succeed first though nothing of theirs is read."""

    retries: int = 0
    """Further tries of the whole step, each with a job of its own."""

    backoff_seconds: float = 10.0
    is_cached: bool = True

    @property
    def needs(self) -> tuple[str, ...]:
        """Names of steps, each once."""
        return tuple(dict.fromkeys([*(each.step for each in self.inputs), *self.after]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipeline:
    """Comes from `pipeline_of` alone, which checks it."""

    name: str
    steps: tuple[PlannedStep, ...]
    """As they were written down; any order of the file is as good as another."""

    def step(self, name: str) -> PlannedStep:
        return next(each for each in self.steps if each.name == name)


def pipeline_of(name: str, steps: Sequence[PlannedStep]) -> Pipeline:
    """Raises `Invalid` that names step, value and limit."""
    if not 1 <= len(steps) <= MOST_STEPS:
        raise Invalid(
            f"a pipeline has 1 to {MOST_STEPS} steps, not {len(steps)}",
            field="steps",
            value=len(steps),
            limit=MOST_STEPS,
        )
    by_name: dict[str, PlannedStep] = {}
    for position, step in enumerate(steps):
        if step.name in by_name:
            raise _refused(position, "name", f"two steps are named {step.name!r}", step.name)
        by_name[step.name] = step
    for position, step in enumerate(steps):
        _check_amounts(position, step)
        _check_variables(position, step)
        for needed in step.after:
            if needed not in by_name:
                raise _refused(position, "after", f"step {step.name!r} waits for no known step", needed)
        for each in step.inputs:
            _check_input(position, step, each, by_name)
    _check_order(by_name)
    return Pipeline(name=name, steps=tuple(steps))


def cache_key(step: PlannedStep, content: Mapping[str, str]) -> str:
    """SHA-256 over all that decides what a step makes; `content` is the SHA-256 of each input by its name.

    The digest of the code stands in the substance, since it is a field of the job's spec.
    """
    said = {
        "substance": step.substance,
        "inputs": dict(sorted(content.items())),
        "outputs": [[each.name, each.kind, each.path] for each in step.outputs],
    }
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def _check_amounts(position: int, step: PlannedStep) -> None:
    for field, found in (("inputs", len(step.inputs)), ("outputs", len(step.outputs))):
        if found > MOST_ARTIFACTS:
            what = f"step {step.name!r} has {found} {field}, at most {MOST_ARTIFACTS} are allowed"
            raise Invalid(what, field=f"steps.{position}.{field}", value=found, limit=MOST_ARTIFACTS)


def _check_variables(position: int, step: PlannedStep) -> None:
    if step.kind is not StepKind.JOB:
        return
    taken: dict[str, str] = {}
    for each in step.inputs:
        other = taken.setdefault(each.variable, each.name)
        if other != each.name:
            what = (
                f"step {step.name!r}: the inputs {other!r} and {each.name!r} are both told as {each.variable}"
            )
            raise _refused(position, "inputs", what, each.name)


def _check_input(position: int, step: PlannedStep, given: Input, steps: Mapping[str, PlannedStep]) -> None:
    source, where = steps.get(given.step), f"inputs.{given.name}"
    if source is None:
        what = f"step {step.name!r} reads {given.reference}, and there is no step {given.step!r}"
        raise _refused(position, where, what, given.reference, limit=", ".join(steps))
    found = next((each for each in source.outputs if each.name == given.output), None)
    if found is None:
        what = f"step {step.name!r} reads {given.reference}, which step {given.step!r} does not make"
        limit = ", ".join(each.name for each in source.outputs) or None
        raise _refused(position, where, what, given.reference, limit=limit)
    if given.kinds and found.kind not in given.kinds:
        asked = " or ".join(given.kinds)
        what = f"step {step.name!r} asks for {given.reference} as {asked}, and it is a {found.kind}"
        raise _refused(position, where, what, str(found.kind), limit=asked)


def _check_order(steps: Mapping[str, PlannedStep]) -> None:
    try:
        TopologicalSorter({name: step.needs for name, step in steps.items()}).prepare()
    except CycleError as error:
        # The sorter lists each before what needs it; people read "a needs b".
        cycle = " -> ".join(reversed(error.args[1]))
        raise Invalid(f"the steps need each other: {cycle}", field="steps", value=cycle) from error


def _refused(position: int, field: str, what: str, value: str, *, limit: str | None = None) -> Invalid:
    return Invalid(what, field=f"steps.{position}.{field}", value=value, limit=limit)
