"""Freight: what has to be near where an attempt runs before it starts: its inputs, and the checkpoint it resumes from.

A registered store may be near some clusters. There an attempt finds, under the same key, what its job's checkpoint URI
names in another store: new checkpoints go there, and the newest one is copied there before the attempt starts. Inputs
are copied there as well, once for all jobs that read the same content (operations/staging.py).
"""

from collections.abc import Mapping, Sequence
from datetime import datetime

from controlplane.domain.attempts import Attempt
from controlplane.domain.data_copies import Copy, CopyState
from controlplane.domain.ids import AttemptId, CopyId
from controlplane.operations import staging
from controlplane.operations.ids import Ids
from controlplane.operations.nearness import near
from controlplane.operations.staging import Freight, Shelves
from controlplane.reconcilers.attempts import Arrival
from controlplane.store import CheckpointRow, Tx


def freights(tx: Tx, attempts: Sequence[Attempt]) -> Mapping[AttemptId, Sequence[Freight]]:
    """Of those that need something which is not where they are placed."""
    shelves = Shelves.load(tx, attempts)
    if shelves is None:
        return {}
    found = staging.freights(tx, shelves, attempts)
    newest = tx.records.newest_checkpoints([each.job_id for each in attempts])
    for attempt in attempts:
        checkpoint = newest.get(attempt.job_id)
        if checkpoint is None or (cluster := shelves.clusters.get(attempt.cluster_id)) is None:
            continue
        target = near(shelves.stores, shelves.rules, attempt.project_id, cluster, checkpoint.uri)
        if target != checkpoint.uri:
            freight = _checkpoint(tx, attempt, checkpoint, target)
            found[attempt.id] = (*found.get(attempt.id, ()), freight)
    return found


def send(tx: Tx, ids: Ids, attempt: Attempt) -> None:
    """Asks for all that nobody was asked to bring yet."""
    for freight in freights(tx, [attempt]).get(attempt.id, ()):
        if freight.arrival is not Arrival.WANTED:
            continue
        if freight.store is not None:
            staging.ask(tx, ids, attempt, freight.source, freight.store)
        else:
            _ask_for_copy(tx, ids, attempt, freight)


def _checkpoint(tx: Tx, attempt: Attempt, checkpoint: CheckpointRow, target: str) -> Freight:
    copy = tx.copies.latest_between(attempt.project_id, checkpoint.uri, target)
    if copy is not None and not _counts(copy, checkpoint.at, attempt):
        copy = None
    # A target takes one copy at a time: while it is somebody else's, this one's turn has not come.
    is_held_up = copy is None and tx.copies.is_taken(target)
    return Freight(
        what="its checkpoint",
        source=checkpoint.uri,
        destination=target,
        arrival=Arrival.UNDER_WAY if is_held_up else _arrival(copy),
        since=attempt.placed_at if copy is None else copy.since,
        problem=_problem(copy),
    )


def _arrival(copy: Copy | None) -> Arrival:
    if copy is None:
        return Arrival.WANTED
    match copy.state:
        case CopyState.DONE:
            return Arrival.THERE
        case CopyState.FAILED | CopyState.CANCELLED:
            return Arrival.LOST
        case _:
            return Arrival.UNDER_WAY


def _problem(copy: Copy | None) -> str | None:
    if copy is None or _arrival(copy) is not Arrival.LOST:
        return None
    return f"copy {copy.id} is {copy.state}" + (f": {copy.problem}" if copy.problem else "")


def _ask_for_copy(tx: Tx, ids: Ids, attempt: Attempt, freight: Freight) -> None:
    """It is read back and compared before anybody resumes from it."""
    copy = Copy(
        id=CopyId(ids.new("copy")),
        project_id=attempt.project_id,
        source=freight.source,
        target=freight.destination,
        state=CopyState.PENDING,
        since=tx.now,
        created_at=tx.now,
        rereads=True,
    )
    tx.copies.add(copy)
    tx.work.poke("copy", copy.id)


def _counts(copy: Copy, committed_at: datetime, attempt: Attempt) -> bool:
    """Code may write a later checkpoint under an earlier one's name, and users may copy without reading back."""
    is_lost = copy.state in (CopyState.FAILED, CopyState.CANCELLED)
    return copy.rereads and copy.created_at >= (attempt.placed_at if is_lost else committed_at)
