"""Step jobs: a ready step becomes a job, submitted as its user would."""

import json
from collections.abc import Mapping

from controlplane.domain.errors import StaleWrite, UserError
from controlplane.domain.executions import Execution, Step, StepState
from controlplane.operations.acting import principal_for
from controlplane.operations.context import Context
from controlplane.operations.executions import stored_spec
from controlplane.operations.pipeline_specs import job_spec, parsed
from controlplane.operations.submission import accept, draft_of, open_desk
from controlplane.reconcilers.executions import begun
from controlplane.store import Tx


def submitted(context: Context, tx: Tx, execution: Execution, step: Step, steps: Mapping[str, Step]) -> Step:
    """Running, or failed with what the job was refused for; a refusal now would be one later."""
    try:
        with tx.savepoint():
            spec, pipeline = parsed(stored_spec(tx, execution.id))
            inputs = [
                (each, steps[each.step].output(each.output)) for each in pipeline.steps[step.position].inputs
            ]
            made = job_spec(spec, execution, step, inputs)
            draft = draft_of(context.ids, made, json.dumps(made.model_dump(mode="json", exclude_unset=True)))
            job_id = accept(open_desk(tx, principal_for(tx, execution.token_id)), draft).job.id
    except StaleWrite:
        raise
    except UserError as refused:
        return step.move(StepState.FAILED, at=tx.now, reason=f"its job was refused: {refused.message}")
    return begun(step, at=tx.now, job_id=job_id)
