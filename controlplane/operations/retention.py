"""Retention: puts finished jobs into the archive when they are old, and prunes what nobody will ask for again.

The archive is written before anything is removed, and what is removed is checked again in the transaction that does
it. So a crash in between leaves jobs in both places, never in none.
"""

import gzip
import hashlib
import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import BinaryIO, Final, cast

from controlplane.domain.ids import JobId
from controlplane.domain.inputs import InputState
from controlplane.domain.leases import Lease
from controlplane.operations.context import Context
from controlplane.operations.ledger import Ledger
from controlplane.reconcilers import inputs
from controlplane.settings import Settings
from controlplane.store import JobPlace, OldJob, Store, Tx

BATCH: Final = 200
"""Jobs of one transaction."""

EVENTS_BATCH: Final = 1000
REASONS_BATCH: Final = 10_000
EXECUTIONS_BATCH: Final = 10
"""Each with up to 256 steps, which go in the same transaction."""

LOADS_KEPT: Final = timedelta(hours=2)
"""Longer than anybody looks back: what gateways see now decides about replicas and releases."""

FORMAT: Final = 1
"""Of the archive's lines; see docs/retention.md."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Walk:
    """How far a walk over the old jobs has come, and what the last step of it did."""

    after: JobPlace | None = None
    is_over: bool = False
    archived: int = 0
    without_logs: int = 0


def step(context: Context, lease: Lease, walk: Walk) -> Walk:
    """Looks at the next jobs, the oldest first. Raises `StaleWrite` when the lease was lost, with nothing removed."""
    settings = context.settings
    days = min(settings.retention_days, settings.log_days)
    with context.store.read() as tx:
        now = tx.now
        jobs = tx.retention.walk(walk.after, now - timedelta(days=days), BATCH)
        old = [job.place.job_id for job in _finished_before(jobs, _expiry(settings, now))]
        needed = tx.retention.needed(old)
        silent_since = now - timedelta(days=settings.log_days)
        logged = tx.retention.logged([job.place.job_id for job in _finished_before(jobs, silent_since)])
    going = {job.place.job_id: job for job in jobs if job.place.job_id in set(old) - needed}
    archived = _archive(context, lease, list(going.values()))
    silenced = sorted(set(logged) - going.keys())
    if silenced:
        context.store.write(partial(_drop_logs, lease=lease, job_ids=silenced))
    return Walk(
        after=jobs[-1].place if jobs else walk.after,
        is_over=len(jobs) < BATCH,
        archived=len(archived),
        without_logs=len(silenced),
    )


def prune(context: Context, lease: Lease) -> int:
    """Takes a bounded number of old events, ended leases, departed nodes and executions away; says how many."""
    event_days, days = context.settings.event_days, context.settings.retention_days

    def unit(tx: Tx) -> int:
        tx.leases.fence(lease)
        return (
            tx.retention.prune_events(tx.now - timedelta(days=event_days), EVENTS_BATCH)
            + tx.retention.prune_leases(tx.now - timedelta(days=days))
            + tx.retention.prune_nodes(tx.now - timedelta(days=days), BATCH)
            + tx.loads.prune(tx.now - LOADS_KEPT)
            + tx.executions.prune(tx.now - timedelta(days=days), EXECUTIONS_BATCH)
            + tx.inputs.prune(tx.now - timedelta(days=days), BATCH)
        )

    return context.store.write(unit)


def forget_reasons(context: Context, lease: Lease) -> int:
    """Why asks waited whose class died out long ago; says how many were forgotten.

    They are looked for outside of the write, which would last too long. An ask of such a class that comes in between is
    told again with the next plan that tells anything new.
    """
    days = timedelta(days=context.settings.retention_days)
    with context.store.read() as tx:
        unused = tx.reasons.unused(tx.now - days, REASONS_BATCH)

    def unit(tx: Tx) -> int:
        tx.leases.fence(lease)
        return tx.reasons.drop(unused)

    return context.store.write(unit) if unused else 0


def collect_inputs(context: Context, lease: Lease) -> int:
    """Lets go of inputs that no job reads and that are old, or too many; the input loop deletes them. Says how many.

    Raises `StaleWrite`, with nothing done, when a job has come meanwhile that wants one of them.
    """
    settings = context.settings

    def unit(tx: Tx) -> int:
        tx.leases.fence(lease)
        view = inputs.KeptView(
            kept=tx.inputs.kept(),
            longest=timedelta(days=settings.input_cache_days),
            most_bytes=settings.input_cache_bytes,
            now=tx.now,
        )
        saved = inputs.decide(view).save
        for each in saved:
            tx.inputs.save(each)
        leaving = [each.id for each in saved if each.state is InputState.LEAVING]
        tx.work.poke_many("input", leaving)
        return len(leaving)

    return context.store.write(unit)


def archive_key(jobs: Sequence[OldJob], first_at: datetime) -> str:
    """The same jobs in the same state have the same name, so a repeat after a crash replaces what it repeats."""
    content = "\n".join(f"{job.place.job_id} {job.version}" for job in jobs)
    digest = hashlib.sha256(content.encode()).hexdigest()[:16]
    return f"archive/jobs/{first_at:%Y-%m-%d}/{jobs[0].place.job_id}-{digest}.jsonl.gz"


def _archive(context: Context, lease: Lease, jobs: Sequence[OldJob]) -> list[JobId]:
    """Says which were removed."""
    if not jobs:
        return []
    with tempfile.TemporaryFile() as file:
        _write(context.store, [job.place.job_id for job in jobs], cast("BinaryIO", file))
        file.seek(0)
        context.objects.put(archive_key(jobs, jobs[0].since), cast("BinaryIO", file))
    versions = {job.place.job_id: job.version for job in jobs}

    def unit(tx: Tx) -> list[JobId]:
        tx.leases.fence(lease)
        charges = Ledger.open(tx).charges(list(versions))
        gone = tx.retention.remove(versions)
        tx.costs.charge([each for each in charges if each.owner.job_id in set(gone)])
        return gone

    return context.store.write(unit)


def _write(store: Store, job_ids: Sequence[JobId], file: BinaryIO) -> None:
    # Without a time in its head, the same rows are the same bytes.
    with gzip.GzipFile(fileobj=file, mode="wb", mtime=0) as lines, store.read() as tx:
        for table, row in tx.retention.rows(job_ids):
            line = json.dumps({"format": FORMAT, "table": table, "row": row}, separators=(",", ":"))
            lines.write(line.encode() + b"\n")


def _drop_logs(tx: Tx, *, lease: Lease, job_ids: Sequence[JobId]) -> None:
    tx.leases.fence(lease)
    tx.retention.drop_logs(job_ids)


def _finished_before(jobs: Sequence[OldJob], moment: datetime) -> list[OldJob]:
    return [job for job in jobs if job.is_finished and job.since < moment]


def _expiry(settings: Settings, now: datetime) -> datetime:
    return now - timedelta(days=settings.retention_days)
