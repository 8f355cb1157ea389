"""Freight: the checkpoint that an attempt resumes from, and its copy in the store near where the attempt runs.

A registered store may be near some clusters. There an attempt finds, under the same key, what its job's checkpoint URI
names in another store: new checkpoints go there, and the newest one is copied there before the attempt starts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from controlplane.domain.attempts import Attempt
from controlplane.domain.data_copies import Copy, CopyState, RegisteredStore
from controlplane.domain.errors import Invalid
from controlplane.domain.ids import AttemptId, CopyId, ProjectId
from controlplane.domain.residency import Rules
from controlplane.operations.ids import Ids
from controlplane.operations.residency import kept_out
from controlplane.storage.uris import ObjectUri, covers, parse
from controlplane.store import Tx


@dataclass(frozen=True, slots=True, kw_only=True)
class Freight:
    """What has to be there before an attempt starts."""

    source: str
    target: str
    copy: Copy | None
    """The one that counts: not older than the checkpoint, nor failed before this attempt."""

    @property
    def is_there(self) -> bool:
        return self.copy is not None and self.copy.state is CopyState.DONE

    @property
    def problem(self) -> str | None:
        """Why it will never be there."""
        if self.copy is None or self.copy.state not in (CopyState.FAILED, CopyState.CANCELLED):
            return None
        return f"copy {self.copy.id} is {self.copy.state}" + (
            f": {self.copy.problem}" if self.copy.problem else ""
        )


def near(
    stores: Sequence[RegisteredStore], rules: Rules, project_id: ProjectId, cluster_name: str, uri: str
) -> str:
    """The same key in the store near the cluster; the URI itself where none is that may hold the project's data."""
    try:
        wanted = parse(uri)
    except Invalid:  # code may name its checkpoints in ways that no store of ours knows
        return uri
    homes = [each for each in stores if covers(parse(each.uri), wanted)]
    if not homes or any(cluster_name in each.near for each in homes):
        return uri
    home = max(homes, key=lambda each: len(each.uri))
    close = [
        each
        for each in stores
        if cluster_name in each.near and kept_out(rules, project_id, home, each) is None
    ]
    if not close:
        return uri
    top, there = parse(home.uri).key.rstrip("/"), parse(min(close, key=lambda each: each.name).uri)
    key = wanted.key.removeprefix(top).lstrip("/")
    joined = "/".join(part for part in (there.key.rstrip("/"), key) if part)
    return str(ObjectUri(kind=there.kind, bucket=there.bucket, key=joined))


def freights(tx: Tx, attempts: Sequence[Attempt]) -> Mapping[AttemptId, Freight]:
    """Of those that resume from a checkpoint which is not where they are placed."""
    stores = tx.object_stores.all() if attempts else []
    if not any(each.near for each in stores):
        return {}
    rules = tx.residencies.rules()
    newest = tx.records.newest_checkpoints([each.job_id for each in attempts])
    found = {}
    for attempt in attempts:
        checkpoint, cluster = newest.get(attempt.job_id), tx.clusters.get(attempt.cluster_id)
        if checkpoint is None or cluster is None:
            continue
        target = near(stores, rules, attempt.project_id, cluster.name, checkpoint.uri)
        if target != checkpoint.uri:
            copy = tx.copies.latest_between(checkpoint.uri, target)
            counts = copy if copy and _counts(copy, checkpoint.at, attempt) else None
            found[attempt.id] = Freight(source=checkpoint.uri, target=target, copy=counts)
    return found


def send(tx: Tx, ids: Ids, attempt: Attempt, freight: Freight) -> None:
    """Asks for the copy, which is read back and compared before anybody resumes from it."""
    copy = Copy(
        id=CopyId(ids.new("copy")),
        project_id=attempt.project_id,
        source=freight.source,
        target=freight.target,
        state=CopyState.PENDING,
        since=tx.now,
        created_at=tx.now,
        rereads=True,
    )
    tx.copies.add(copy)
    tx.work.poke("copy", copy.id)


def _counts(copy: Copy, committed_at: datetime, attempt: Attempt) -> bool:
    """Code may write a later checkpoint under an earlier one's name."""
    is_lost = copy.state in (CopyState.FAILED, CopyState.CANCELLED)
    return copy.created_at >= (attempt.placed_at if is_lost else committed_at)
