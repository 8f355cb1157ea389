"""What must hold between the books and the world outside: what runs, which nodes and machines there are.

What the world shows is always a little older or younger than the books, so callers look first, load second, and pass
on only what has lasted.
"""

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime, timedelta

from controlplane.domain.attempts import Attempt, AttemptState
from controlplane.domain.claims import Orphan
from controlplane.domain.clusters import Cluster
from controlplane.domain.ids import AttemptId, ClaimId
from controlplane.domain.invariants.breaches import Breach, Due, Rule


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """A running attempt, and what is known of its tasks."""

    attempt: Attempt
    heard_at: datetime | None
    """The last heartbeat of any task."""

    phase: str
    """In the executor's words."""

    is_there: bool


def of_processes(
    listed: Sequence[AttemptId],
    attempts: Mapping[AttemptId, Attempt],
    *,
    cluster: Cluster,
    ended_before: datetime,
) -> Iterator[Breach]:
    """`listed`: what the cluster believes to be alive. What ended later than `ended_before` may still be on its way."""
    for attempt_id in listed:
        attempt = attempts.get(attempt_id)
        if attempt is None:
            sentence = f"runs on cluster {cluster.name}, and no attempt of ours is called so"
            yield Breach(rule=Rule.PROCESS_OF_NOBODY, subject=attempt_id, sentence=sentence)
        elif attempt.ended_at is not None and attempt.ended_at < ended_before:
            ended = f"{attempt.ended_at:%Y-%m-%dT%H:%M:%SZ}"
            sentence = (
                f"runs on cluster {cluster.name}, but the attempt ended at {ended} as {attempt.outcome}"
            )
            yield Breach(
                rule=Rule.PROCESS_OF_NOBODY, subject=attempt_id, sentence=sentence, cluster_id=cluster.id
            )


def of_silence(ran: Sequence[Ran], *, now: datetime, quiet: timedelta) -> Iterator[Breach]:
    """`quiet`: for how long a task may be silent before several heartbeats must have been missed."""
    for each in ran:
        attempt = each.attempt
        is_heard = each.heard_at is not None and now - each.heard_at <= quiet
        if each.is_there or is_heard or attempt.state is not AttemptState.RUNNING:
            continue
        heard = "never" if each.heard_at is None else f"at {each.heard_at:%Y-%m-%dT%H:%M:%SZ}"
        sentence = f"is running by its row, but its executor says {each.phase}; it was last heard of {heard}"
        yield Breach(
            rule=Rule.ATTEMPT_WITHOUT_PROCESS,
            subject=attempt.id,
            sentence=sentence,
            due=Due(noun="attempt", id=attempt.id),
        )


def of_nodes(cluster: Cluster, booked: AbstractSet[str], listed: AbstractSet[str]) -> Iterator[Breach]:
    """Both by the cluster's own names."""
    for name in sorted(booked ^ listed):
        which = (
            "is in the books, and the cluster does not list it" if name in booked else "is not in the books"
        )
        yield Breach(
            rule=Rule.NODES_AS_LISTED,
            subject=name,
            sentence=f"of cluster {cluster.name}: {which}",
            due=Due(noun="cluster", id=cluster.id),
        )


def of_machines(
    cluster: Cluster,
    machines: Mapping[str, ClaimId],
    *,
    live_claims: AbstractSet[ClaimId],
    known: Mapping[str, Orphan],
    gone_before: datetime,
) -> Iterator[Breach]:
    """`known`: orphans that are being ended already; one that was seen before `gone_before` should be gone."""
    for name, claim_id in sorted(machines.items()):
        orphan = known.get(name)
        if claim_id in live_claims or (orphan is not None and orphan.seen_at >= gone_before):
            continue
        since = "" if orphan is None else f", and is being ended since {orphan.seen_at:%Y-%m-%dT%H:%M:%SZ}"
        yield Breach(
            rule=Rule.MACHINE_OF_NOBODY,
            subject=name,
            sentence=f"has our tag on cluster {cluster.name}, but claim {claim_id} is not live{since}",
            due=Due(noun="orphan", id=cluster.id),
        )
