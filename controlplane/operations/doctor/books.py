"""The books: every rule that the database alone can answer, in many short reads, so that nobody waits for them."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from controlplane.domain import invariants
from controlplane.domain.attempts import ATTEMPT
from controlplane.domain.claims import CLAIM
from controlplane.domain.clusters import CLUSTER
from controlplane.domain.data_copies import COPY
from controlplane.domain.executions import EXECUTION, STEP
from controlplane.domain.ids import AttemptId, ClaimId, JobId
from controlplane.domain.inputs import INPUT
from controlplane.domain.invariants import Breach, Dossier, Due, Rule
from controlplane.domain.jobs import JOB
from controlplane.domain.leases import LEASE
from controlplane.domain.models import MODEL_VERSION
from controlplane.domain.revisions import REVISION
from controlplane.operations import explain
from controlplane.operations.residency import outside
from controlplane.store import Store, Tx
from schedulers.base import ReasonCode

PAGE: Final = 500
CODES: Final = frozenset(str(code) for code in ReasonCode)
LIFECYCLES: Final = (
    ATTEMPT,
    CLAIM,
    CLUSTER,
    COPY,
    EXECUTION,
    INPUT,
    JOB,
    LEASE,
    MODEL_VERSION,
    REVISION,
    STEP,
)
UNREADABLE: Final = (KeyError, TypeError, ValueError)
"""What making an object of a row raises that holds no value of ours."""

Page = Callable[[Tx, str], tuple[list[Breach], Sequence[str]]]
"""Given the last id seen: what is wrong on the next page, and the page's ids."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Books:
    breaches: tuple[Breach, ...]
    jobs: int
    claims: int


def look(store: Store) -> Books:
    job_breaches, jobs = _pages(store, _jobs)
    claim_breaches, claims = _pages(store, _claims)
    pages = (
        _unwatched_jobs,
        _unwatched_attempts,
        _unwatched_claims,
        _unwatched_copies,
        _unwatched_inputs,
        _unwatched_executions,
    )
    unwatched = (_pages(store, page)[0] for page in pages)
    rest = (list(_read(store, name, part)) for name, part in _PARTS)
    found = (job_breaches, claim_breaches, *unwatched, *rest)
    return Books(breaches=tuple(breach for part in found for breach in part), jobs=jobs, claims=claims)


def _pages(store: Store, page: Page) -> tuple[list[Breach], int]:
    """Each page is a read of its own: a long one would keep the database from tidying up behind it."""
    found: list[Breach] = []
    count, after = 0, ""
    while True:
        with store.read() as tx:
            breaches, ids = page(tx, after)
        found += breaches
        if not ids:
            return found, count
        count, after = count + len(ids), ids[-1]


def _jobs(tx: Tx, after: str) -> tuple[list[Breach], Sequence[str]]:
    ids = tx.audits.job_ids(JobId(after), PAGE)
    dossiers, found = _dossiers(tx, ids)
    for dossier in dossiers:
        found.extend(invariants.of_job(dossier))
    return found, ids


def _dossiers(tx: Tx, ids: Sequence[JobId]) -> tuple[list[Dossier], list[Breach]]:
    """All at once or, when one cannot be read, each alone."""
    if not ids:
        return [], []
    try:
        return tx.audits.dossiers(ids), []
    except UNREADABLE as problem:
        if len(ids) == 1:
            return [], [_unreadable(ids[0], problem)]
    parts = [_dossiers(tx, [job_id]) for job_id in ids]
    return [each for part, _ in parts for each in part], [each for _, part in parts for each in part]


def _claims(tx: Tx, after: str) -> tuple[list[Breach], Sequence[str]]:
    files = tx.audits.claims(ClaimId(after), PAGE)
    return [breach for file in files for breach in invariants.of_claim(file)], [
        file.claim.id for file in files
    ]


def _unwatched_jobs(tx: Tx, after: str) -> tuple[list[Breach], Sequence[str]]:
    ids = tx.jobs.unwatched(after, PAGE)
    dossiers, _ = _dossiers(tx, ids)  # what cannot be read was told of already
    needed = dict.fromkeys(each for dossier in dossiers for each in dossier.job.depends_on)
    known = {job.id: job for job in tx.jobs.many(list(needed))}
    found: list[Breach] = []
    for dossier in dossiers:
        dependencies = [known[each] for each in dossier.job.depends_on if each in known]
        since = invariants.waits_since(dossier, dependencies)
        if since is not None:
            found.extend(invariants.of_unwatched(Due(noun="job", id=dossier.job.id), since, now=tx.now))
    return found, ids


def _unwatched_attempts(tx: Tx, after: str) -> tuple[list[Breach], Sequence[str]]:
    ids = tx.attempts.unwatched(after, PAGE)
    rows = tx.attempts.many([AttemptId(each) for each in ids])
    return _of_unwatched(tx, "attempt", [(each.id, each.since) for each in rows.values()]), ids


def _unwatched_claims(tx: Tx, after: str) -> tuple[list[Breach], Sequence[str]]:
    ids = tx.claims.unwatched(after, PAGE)
    return _of_unwatched(
        tx, "claim", [(each, row.since) for each in ids if (row := tx.claims.get(each))]
    ), ids


def _unwatched_copies(tx: Tx, after: str) -> tuple[list[Breach], Sequence[str]]:
    ids = tx.copies.unwatched(after, PAGE)
    return _of_unwatched(tx, "copy", [(each, row.since) for each in ids if (row := tx.copies.get(each))]), ids


def _unwatched_inputs(tx: Tx, after: str) -> tuple[list[Breach], Sequence[str]]:
    ids = tx.inputs.unwatched(after, PAGE)
    return _of_unwatched(
        tx, "input", [(each, row.since) for each in ids if (row := tx.inputs.get(each))]
    ), ids


def _unwatched_executions(tx: Tx, after: str) -> tuple[list[Breach], Sequence[str]]:
    ids = tx.executions.unwatched(after, PAGE)
    rows = [(each, row.since) for each in ids if (row := tx.executions.get(each))]
    return _of_unwatched(tx, "execution", rows), ids


def _of_unwatched(tx: Tx, noun: str, rows: Iterable[tuple[str, datetime]]) -> list[Breach]:
    """`rows`: ids, and since when each waits."""
    dues = [(Due(noun=noun, id=id_), since) for id_, since in rows]
    return [found for due, since in dues for found in invariants.of_unwatched(due, since, now=tx.now)]


def _read(store: Store, name: str, part: Callable[[Tx], Iterable[Breach]]) -> Iterator[Breach]:
    try:
        with store.read() as tx:
            yield from part(tx)
    except UNREADABLE as problem:
        yield _unreadable(name, problem)


def _clusters(tx: Tx) -> Iterator[Breach]:
    clusters, kept_since = tx.clusters.list(), tx.audits.kept_since()
    stories = tx.audits.stories([cluster.id for cluster in clusters])
    unwatched = set(tx.audits.unwatched_clusters())
    for cluster in clusters:
        is_whole = invariants.is_kept_whole(cluster.created_at, kept_since)
        born_at = cluster.created_at if is_whole else None
        yield from invariants.of_cluster(cluster, stories.get(cluster.id, ()), born_at=born_at)
        if cluster.id in unwatched:
            due = Due(noun="cluster", id=cluster.id)
            yield from invariants.of_unwatched(due, cluster.since, now=tx.now)


def _waiting(tx: Tx) -> Iterator[Breach]:
    has_scheduler = not explain.scheduler_is_away(tx)
    for waiting in tx.audits.waiting():
        yield from invariants.of_waiting(waiting, CODES, now=tx.now, has_scheduler=has_scheduler)


def _counts(tx: Tx) -> Iterator[Breach]:
    for wrong in tx.counts.wrong():
        bucket = wrong.bucket
        what = f"{bucket.kind} jobs that are {bucket.state}"
        sentence = f"{bucket.jobs} {what} are counted, {wrong.true_jobs} are there"
        yield Breach(rule=Rule.COUNTS, subject=bucket.queue_id, sentence=sentence)


def _references(tx: Tx) -> Iterator[Breach]:
    rows = tx.audits.dangling()
    example = {(table, parent): row for table, row, parent in rows}
    for (table, parent), count in sorted(Counter((table, parent) for table, _, parent in rows).items()):
        sentence = (
            f"{count} rows refer to {parent} that are not there, row {example[table, parent]} among them"
        )
        yield Breach(rule=Rule.REFERENCES, subject=table, sentence=sentence)


def _sites(tx: Tx) -> Iterator[Breach]:
    for claim_id in tx.sites.of_nobody():
        sentence = "its claim is gone, and its Ray cluster is still known"
        yield Breach(rule=Rule.SITE_OF_NOBODY, subject=claim_id, sentence=sentence)


def _strays(tx: Tx) -> Iterator[Breach]:
    for stray in tx.strays.quarantined():
        what = f"{stray.kind} of claim {stray.claim_id} in {stray.zone!r} of {stray.cluster_id}"
        sentence = f"{what} cannot be removed since {stray.seen_at:%Y-%m-%dT%H:%M:%SZ}: {stray.problem}"
        yield Breach(rule=Rule.LEFT_BEHIND, subject=stray.name, sentence=sentence)


def _services(tx: Tx) -> Iterator[Breach]:
    for shares in tx.audits.shares():
        yield from invariants.of_shares(shares)
    for lost in tx.audits.lost_replicas():
        yield from invariants.of_lost_replica(lost)


def _residency(tx: Tx) -> Iterator[Breach]:
    rules = tx.residencies.rules()
    if not rules.projects and not rules.data:
        return
    clusters = {cluster.id: cluster for cluster in tx.clusters.list()}
    live = tx.attempts.live()
    asks = tx.asks.many([attempt.ask_id for attempt in live])
    for attempt in live:
        cluster, stores = clusters.get(attempt.cluster_id), asks[attempt.ask_id].traits.stores
        why = None if cluster is None else outside(rules, attempt.project_id, cluster, stores=stores)
        if why is not None:
            yield Breach(rule=Rule.OUTSIDE_RESIDENCY, subject=attempt.id, sentence=why)


def _unreadable(subject: str, problem: Exception) -> Breach:
    return Breach(rule=Rule.READABLE, subject=subject, sentence=f"cannot be read: {problem}")


_PARTS: Final[Sequence[tuple[str, Callable[[Tx], Iterable[Breach]]]]] = (
    ("clusters", _clusters),
    ("floor", lambda tx: invariants.of_floor(tx.audits.floor())),
    ("leases", lambda tx: invariants.of_leases(tx.leases.every())),
    ("reasons", _waiting),
    ("counts", _counts),
    ("edges", lambda tx: invariants.of_edges(tx.audits.edges(), LIFECYCLES)),
    ("sites", _sites),
    ("leftovers", _strays),
    ("services", _services),
    ("residency", _residency),
    ("references", _references),
)
