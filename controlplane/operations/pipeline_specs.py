"""Pipeline specs: from what a user wrote to the graph that is decided on, and to the job of one step."""

import json
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final

from pydantic import ValidationError

from controlplane.domain.errors import Invalid
from controlplane.domain.executions import Execution, Step, StepArtifact
from controlplane.domain.pipelines import (
    PUBLISHED,
    ArtifactKind,
    Input,
    Output,
    Pipeline,
    PlannedStep,
    StepKind,
    pipeline_of,
)
from controlplane.wire.jobspec import JobSpec
from controlplane.wire.pipelines import InputGiven, PipelineSpec, StepJob, StepPublish, StepSpec

MOST_REMEMBERED: Final = 64
"""Pipelines that are at work, again and again."""

LONGEST_NAME: Final = 63
PUBLISHABLE: Final = (ArtifactKind.MODEL, ArtifactKind.METRICS, ArtifactKind.REPORT, ArtifactKind.FILE)
NAMING_DATA: Final = (ArtifactKind.DATASET, ArtifactKind.FILE)
CHANGES_NOTHING: Final = frozenset(
    {"name", "labels", "queue", "priority", "retry", "deadline", "estimated_runtime_seconds"}
    | {"max_runtime_seconds", "grace_seconds", "checkpoint_uri", "flavors", "tolerations", "topology"}
    | {"surplus", "restart_seconds"}
)
"""Fields of a job that say when, where and how patiently it runs, not what it makes."""

LABELS: Final = ("pipeline", "execution", "step")
"""Of each job, so that `jobs list --label` finds it."""


def parsed(spec_json: str) -> tuple[PipelineSpec, Pipeline]:
    """Of a stored pipeline, which was checked when it was accepted."""
    return _parsed(spec_json)


@lru_cache(maxsize=MOST_REMEMBERED)
def _parsed(spec_json: str) -> tuple[PipelineSpec, Pipeline]:
    spec = PipelineSpec.model_validate_json(spec_json)
    return spec, planned(spec)


def planned(spec: PipelineSpec) -> Pipeline:
    """Raises `Invalid` that names step, value and limit."""
    steps = [_planned(step) for step in spec.steps]
    pipeline = pipeline_of(spec.name, steps)
    for position, step in enumerate(spec.steps):
        if step.job is not None:
            _check_environment(position, step, step.job, steps[position].inputs)
        if step.publish is not None:
            _check_publish(position, step.publish, spec.steps)
    return pipeline


def job_spec(
    spec: PipelineSpec, execution: Execution, step: Step, inputs: Sequence[tuple[Input, StepArtifact]]
) -> JobSpec:
    """The job of the step's next try. Raises `Invalid` where it gets too large with what it is given."""
    given = _job(spec.steps[step.position])
    folder = f"{execution.outputs_uri}{execution.id}/{step.name}/{step.number + 1}"
    labels = dict(zip(LABELS, (spec.name, execution.id, step.name), strict=True))
    said: dict[str, Any] = given.model_dump(mode="json", exclude_unset=True)
    said |= {
        "name": said.get("name", f"{spec.name}-{step.name}"[:LONGEST_NAME].rstrip("._-")),
        "project": spec.project,
        "queue": said.get("queue", spec.queue),
        "outputs_uri": f"{folder}/outputs",
        "checkpoint_uri": given.checkpoint_uri or f"{folder}/checkpoints",
        "labels": given.labels | labels,
        "environment": given.environment | {each.variable: found.uri for each, found in inputs},
    }
    try:
        return JobSpec.model_validate_json(json.dumps(said))
    except ValidationError as error:
        problem = error.errors()[0]
        raise Invalid(
            f"step {step.name!r}: {problem['msg']}",
            field=f"steps.{step.position}.job.{'.'.join(map(str, problem['loc']))}",
        ) from error


def outputs_folder(execution: Execution, step: Step) -> str:
    """Below which the job of its newest try writes; ends with `/`."""
    return f"{execution.outputs_uri}{execution.id}/{step.name}/{step.number}/outputs/"


def _planned(step: StepSpec) -> PlannedStep:
    return PlannedStep(
        name=step.name,
        kind=_kind(step),
        substance=_substance(step),
        inputs=_inputs(step),
        outputs=_outputs(step),
        after=_after(step),
        retries=step.retries,
        backoff_seconds=step.backoff_seconds,
        is_cached=step.cache,
    )


def _kind(step: StepSpec) -> StepKind:
    if step.job is not None:
        return StepKind.JOB
    return StepKind.PUBLISH if step.publish is not None else StepKind.DEPLOY


def _inputs(step: StepSpec) -> tuple[Input, ...]:
    if step.publish is not None:
        return _published(step.publish)
    if step.deploy is not None:
        return (_input(PUBLISHED, step.deploy.version, (ArtifactKind.VERSION,)),)
    return tuple(
        _input(name, given.source, (ArtifactKind(given.kind),))
        if isinstance(given, InputGiven)
        else _input(name, given)
        for name, given in step.inputs.items()
    )


def _published(publish: StepPublish) -> tuple[Input, ...]:
    inputs = [_input(name, source, PUBLISHABLE) for name, source in publish.artifacts.items()]
    if publish.data is not None:
        inputs.append(_input("data", publish.data, NAMING_DATA))
    return tuple(inputs)


def _input(name: str, reference: str, kinds: tuple[ArtifactKind, ...] = ()) -> Input:
    _, step, _, output = reference.split(".", 3)
    return Input(name=name, step=step, output=output, kinds=kinds)


def _outputs(step: StepSpec) -> tuple[Output, ...]:
    if step.publish is not None:
        return (Output(name=PUBLISHED, kind=ArtifactKind.VERSION, path=""),)
    return tuple(
        Output(name=name, kind=ArtifactKind(given.kind), path=given.path)
        for name, given in step.outputs.items()
    )


def _after(step: StepSpec) -> tuple[str, ...]:
    evaluated_by = step.publish.evaluated_by if step.publish is not None else None
    return (*step.after, *([evaluated_by] if evaluated_by is not None else []))


def _substance(step: StepSpec) -> str:
    what = step.job or step.publish or step.deploy
    said = (
        {}
        if what is None
        else what.model_dump(mode="json", exclude_defaults=True, exclude=set(CHANGES_NOTHING))
    )
    return json.dumps(said, sort_keys=True)


def _job(step: StepSpec) -> StepJob:
    if step.job is None:
        raise Invalid(f"step {step.name!r} has no job", field="steps")
    return step.job


def _check_environment(position: int, step: StepSpec, job: StepJob, inputs: Sequence[Input]) -> None:
    for each in inputs:
        if each.variable in job.environment:
            raise Invalid(
                f"step {step.name!r}: the input {each.name!r} is told in {each.variable}, which its job sets itself",
                field=f"steps.{position}.job.environment",
                value=each.variable,
            )


def _check_publish(position: int, publish: StepPublish, steps: Sequence[StepSpec]) -> None:
    where = f"steps.{position}.publish"
    makers = sorted({_input(name, source).step for name, source in publish.artifacts.items()})
    if len(makers) > 1:
        what = f"a version comes from one step, these artifacts from {len(makers)}: {', '.join(makers)}"
        raise Invalid(what, field=f"{where}.artifacts", value=", ".join(makers), limit=1)
    evaluating = next((each for each in steps if each.name == publish.evaluated_by), None)
    if evaluating is not None and evaluating.job is None:
        what = f"step {publish.evaluated_by!r} has no job, so no metrics"
        raise Invalid(what, field=f"{where}.evaluated_by", value=publish.evaluated_by)
    references = [*publish.artifacts.values(), *([publish.data] if publish.data is not None else [])]
    for each in references:
        _check_is_object(where, each, steps)


def _check_is_object(where: str, reference: str, steps: Sequence[StepSpec]) -> None:
    """A version consists of objects."""
    found = _input("", reference)
    output = next((each.outputs.get(found.output) for each in steps if each.name == found.step), None)
    if output is not None and output.path.endswith("/"):
        what = f"{reference} is all below {output.path!r}: name one object"
        raise Invalid(what, field=where, value=output.path)
