"""Origins: the job behind a model version, as its own records tell of it."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from controlplane.domain.errors import Conflict, Invalid, NotFound
from controlplane.domain.ids import JobId
from controlplane.domain.jobs import JobState
from controlplane.domain.manifests import Artifact, Lineage
from controlplane.domain.models import Model
from controlplane.identity.principals import Principal
from controlplane.operations.lookups import job_for
from controlplane.storage.uris import covers, parse
from controlplane.store import CheckpointRow, JobView, Tx
from controlplane.wire.models import ArtifactGiven

REPORTS: Final = 2000
"""The newest ones of a job in which its metrics are looked for."""

CHECKPOINT: Final = "checkpoint"
"""Name of the artifact where the job's newest checkpoint is published."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """The job that made a version."""

    view: JobView
    checkpoints: tuple[CheckpointRow, ...]
    """The newest first."""

    folders: tuple[str, ...]
    """URIs below which the job writes."""


def origin_of(tx: Tx, principal: Principal, model: Model, job_id: str) -> Origin:
    found = _finished(tx, principal, model, job_id, field="job")
    spec = json.loads(found.spec)
    folders = [spec.get(name) for name in ("outputs_uri", "checkpoint_uri")]
    return Origin(
        view=found,
        checkpoints=tuple(tx.records.checkpoints(found.job.id)),
        folders=tuple(folder for folder in folders if folder),
    )


def newest_checkpoint(origin: Origin) -> ArtifactGiven:
    if not origin.checkpoints:
        job_id = origin.view.job.id
        raise Invalid(
            f"job {job_id} reported no checkpoint: name the artifacts", field="artifacts", value=job_id
        )
    return ArtifactGiven(name=CHECKPOINT, uri=origin.checkpoints[0].uri)


def as_reported(origin: Origin, given: ArtifactGiven) -> ArtifactGiven:
    """With the checksum that the job reported, unless the caller brings one."""
    known = (each for each in origin.checkpoints if each.uri == given.uri and each.sha256)
    newest = next(known, None)
    if given.sha256 is not None or newest is None or newest.sha256 is None:
        return given
    return given.model_copy(update={"sha256": newest.sha256.lower()})


def source_of(origin: Origin | None, artifacts: Sequence[Artifact]) -> CheckpointRow | None:
    """The newest of the job's checkpoints that is among them. Raises `Invalid` for what the job did not make."""
    if origin is None:
        return None
    sources = []
    for position, artifact in enumerate(artifacts):
        same = [each for each in origin.checkpoints if _is_of(each, artifact)]
        sources += same
        uri = parse(artifact.uri)
        if not same and not any(covers(parse(folder), uri) for folder in origin.folders):
            raise Invalid(
                f"{artifact.uri} is neither a checkpoint that job {origin.view.job.id} reported nor below its outputs",
                field=f"artifacts.{position}.uri",
                value=artifact.uri,
                limit=", ".join(origin.folders) or None,
            )
    return min(sources, key=origin.checkpoints.index, default=None)


def lineage_of(origin: Origin | None, source: CheckpointRow | None) -> Lineage:
    if origin is None:
        return Lineage()
    spec = json.loads(origin.view.spec)
    return Lineage(
        job_id=origin.view.job.id,
        code=spec.get("working_dir"),
        checkpoint_step=None if source is None else source.step,
        parameters=spec,
    )


def metrics_of(tx: Tx, origin: Origin | None, source: CheckpointRow | None) -> dict[str, float | None]:
    """The last ones; of an older checkpoint those up to its step."""
    if origin is None:
        return {}
    if source is None or source is origin.checkpoints[0]:
        return _last_metrics(tx, origin.view.job.id)
    return _last_metrics(tx, origin.view.job.id, until_step=source.step)


def evaluation_of(tx: Tx, principal: Principal, model: Model, job_id: str | None) -> dict[str, float | None]:
    if job_id is None:
        return {}
    found = _finished(tx, principal, model, job_id, field="evaluated_by")
    return _last_metrics(tx, found.job.id)


def _finished(tx: Tx, principal: Principal, model: Model, job_id: str, *, field: str) -> JobView:
    job = job_for(tx, principal, job_id)
    if job.project_id != model.project_id:
        owner = tx.projects.get(model.project_id)
        raise Invalid(
            f"job {job.id} belongs to another project than the model",
            field=field,
            value=job.id,
            limit=owner.name if owner else model.project_id,
        )
    if job.state is not JobState.SUCCEEDED:
        raise Conflict(
            f"job {job.id} is {job.state}: only what succeeded is published",
            field=field,
            value=str(job.state),
            limit=str(JobState.SUCCEEDED),
        )
    found = tx.jobs.view(job.id)
    if found is None:
        raise NotFound(f"there is no job {job_id!r}, or not for this token", field=field, value=job_id)
    return found


def _is_of(checkpoint: CheckpointRow, artifact: Artifact) -> bool:
    """A copy elsewhere is the checkpoint if the content is."""
    if checkpoint.sha256 is not None:
        return checkpoint.sha256.lower() == artifact.sha256
    return checkpoint.uri == artifact.uri


def _last_metrics(tx: Tx, job_id: JobId, **limits: int) -> dict[str, float | None]:
    found: dict[str, float | None] = {}
    for reported in tx.records.newest_metrics(job_id, REPORTS, **limits):
        found = reported | found
    return dict(sorted(found.items()))
