"""What must hold of what pipelines release: what was made is published, once, and serves before its step is done."""

from collections import Counter
from collections.abc import Sequence
from typing import Final

from controlplane.domain.events import Event
from controlplane.domain.executions import Execution, Step, StepState
from controlplane.domain.ids import ProjectId, RevisionId, StepId
from controlplane.domain.manifests import Facts, facts_of
from controlplane.domain.pipelines import Pipeline, PlannedStep, StepKind
from controlplane.operations.service_specs import stored
from controlplane.store import Tx
from tests.sim.planners import Planners
from tests.sim.truth import Violation

PUBLICATION: Final = "model_version.candidate"
DEPLOYMENT: Final = "revision.pending"


class Released:
    """A part of the judge."""

    def __init__(self, planners: Planners) -> None:
        self._planners = planners
        self._tries: dict[StepId, tuple[str | None, int]] = {}
        """Of each step that publishes: the job that made what it publishes, and how often it was begun."""

        self._wanted: set[RevisionId] = set()
        """Those that a step that deploys may have made."""

        self._published: Counter[str | None] = Counter()
        """Versions, by the job that made them."""

        self._done: set[StepId] = set()

    def look_at_steps(self, tx: Tx, execution: Execution, pipeline: Pipeline, steps: Sequence[Step]) -> None:
        for planned, step in zip(pipeline.steps, steps, strict=True):
            if planned.kind is StepKind.JOB:
                continue
            maker = _maker(planned, steps)
            if planned.kind is StepKind.PUBLISH:
                self._tries[step.id] = (maker.job_id, step.number)
            else:
                self._wanted |= {_revision_id(step, each) for each in range(1, step.number + 1)}
            if step.state is StepState.SUCCEEDED and step.id not in self._done:
                self._done.add(step.id)
                if planned.kind is StepKind.PUBLISH:
                    _is_what_was_made(tx, execution, step, maker)
                else:
                    _serves(tx, step, maker)

    def look(self, tx: Tx, events: Sequence[Event]) -> None:
        """At each version and each revision when it is made; the steps that made them were looked at before."""
        for event in events:
            if event.kind == PUBLICATION and event.data["from"] == "-":
                facts = _facts(tx, event.project_id, str(event.data["model"]), int(str(event.data["number"])))
                self._is_published_once(facts)
            elif event.kind == DEPLOYMENT:
                self._is_of_a_step(tx, RevisionId(event.subject))

    def _is_published_once(self, facts: Facts) -> None:
        job_id = facts.lineage.job_id
        self._published[job_id] += 1
        tries = sum(number for maker, number in self._tries.values() if maker == job_id)
        if self._published[job_id] > tries:
            raise Violation(
                f"what job {job_id} made was published {self._published[job_id]} times in {tries} tries"
            )

    def _is_of_a_step(self, tx: Tx, revision_id: RevisionId) -> None:
        revision = tx.revisions.get(revision_id)
        is_theirs = revision is not None and revision.created_by == self._planners.name
        if is_theirs and revision_id not in self._wanted:
            raise Violation(f"revision {revision_id} was deployed by a pipeline, and by no try of its steps")


def _maker(planned: PlannedStep, steps: Sequence[Step]) -> Step:
    """Of what the step publishes or deploys."""
    return next(step for step in steps if step.name == planned.inputs[0].step)


def _revision_id(step: Step, number: int) -> RevisionId:
    return RevisionId(f"revision_{step.id.removeprefix('execution_')}.{number}")


def _is_what_was_made(tx: Tx, execution: Execution, step: Step, maker: Step) -> None:
    _, model, number = step.outputs[0].uri.removeprefix("model://").split("/")
    published = _facts(tx, execution.project_id, model, int(number)).artifacts
    if [each.sha256 for each in published] != [each.sha256 for each in maker.outputs]:
        raise Violation(f"step {step.id} published {published}, and {maker.outputs} was made")


def _serves(tx: Tx, step: Step, publication: Step) -> None:
    revision = tx.revisions.get(_revision_id(step, step.number))
    if revision is None or revision.ready_at is None:
        raise Violation(f"step {step.id} is done, and its revision never was ready: {revision}")
    *_, model, number = publication.outputs[0].uri.split("/")
    if stored(revision.spec).model != f"{model}@{number}":
        raise Violation(f"revision {revision.id} does not serve what step {publication.id} published")


def _facts(tx: Tx, project_id: ProjectId | None, name: str, number: int) -> Facts:
    model = None if project_id is None else tx.models.by_name(project_id, name)
    version = None if model is None else tx.model_versions.by_number(model.id, number)
    if version is None:
        raise Violation(f"there is no version {number} of model {name}")
    return facts_of(version.manifest)
