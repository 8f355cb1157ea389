"""Step jobs: ready steps become jobs, submitted as their user would."""

import json
from collections.abc import Mapping, Sequence

from controlplane.domain.errors import StaleWrite, UserError
from controlplane.domain.executions import Execution, Step, StepState
from controlplane.operations.acting import principal_for
from controlplane.operations.context import Context
from controlplane.operations.executions import stored_spec
from controlplane.operations.pipeline_specs import job_spec, parsed
from controlplane.operations.submission import accept, draft_of, open_desk
from controlplane.reconcilers.executions import begun
from controlplane.store import Tx


def submitted(
    context: Context, tx: Tx, execution: Execution, ready: Sequence[Step], steps: Mapping[str, Step]
) -> list[Step]:
    """Each running, or failed with what its job was refused for; a refusal now would be one later."""
    if not ready:
        return []
    try:
        # One desk for all: it looks at every node that there is.
        desk = open_desk(tx, principal_for(tx, execution.token_id))
        spec, pipeline = parsed(stored_spec(tx, execution.id))
    except UserError as refused:
        return [_failed(tx, step, refused) for step in ready]
    tried = []
    for step in ready:
        inputs = [
            (each, steps[each.step].output(each.output)) for each in pipeline.steps[step.position].inputs
        ]
        try:
            with tx.savepoint():
                made = job_spec(spec, execution, step, inputs)
                said = json.dumps(made.model_dump(mode="json", exclude_unset=True))
                job_id = accept(desk, draft_of(context.ids, made, said)).job.id
        except StaleWrite:
            raise
        except UserError as refused:
            desk.object_stores = None  # they were kept until the savepoint was taken back
            tried.append(_failed(tx, step, refused))
        else:
            tried.append(begun(step, at=tx.now, job_id=job_id))
    return tried


def _failed(tx: Tx, step: Step, refused: UserError) -> Step:
    return step.move(StepState.FAILED, at=tx.now, reason=f"its job was refused: {refused.message}")
