"""The judge: compares the books with themselves and with the truth, after every step and at the end."""

import gzip
import json
from collections.abc import Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import TYPE_CHECKING, Final

from controlplane.domain import invariants
from controlplane.domain.events import Event
from controlplane.domain.ids import AttemptId, ClaimId, ClusterId, JobId
from controlplane.domain.jobs import JobState
from controlplane.operations import explain, uploads
from controlplane.store import Tx
from schedulers.base import ReasonCode
from tests.sim.database import NoFaults
from tests.sim.follower import Follower, seen
from tests.sim.promises import Promises
from tests.sim.purchases import Purchases
from tests.sim.replicas import ROOT, context_of
from tests.sim.truth import Violation

if TYPE_CHECKING:
    from tests.sim.world import World

COMPARED_EVERY_STEPS: Final = 100
MOST_EVENTS: Final = 100_000
MOST_ARCHIVES: Final = 64
"""More than one world makes."""

IDLE_TALK: Final = ("memory.", "machine.", "offer", "leftover.")
"""What is told again and again, also when nothing is going on any more."""

USERS_JOBS: Final = "job-"
"""How the names of jobs begin that users submit. Others are named after what they are a part of."""

CODES: Final = frozenset(str(code) for code in (*ReasonCode, *explain.Code))


class Judge:
    def __init__(self, world: "World") -> None:
        self._world = world
        self._context = context_of(world, NoFaults(), world.objects)
        self.purchases = Purchases(world, self._context)
        self._cursor: str | None = None
        self._marker: object = None
        """Of the last look: nothing was touched while it stays."""

        self._clusters: dict[ClusterId, str] = {}
        self._found_well: dict[JobId, invariants.Dossier] = {}
        self.promises = Promises()
        self._follower = Follower(world.admins.choice.policy)
        self._hash = blake2b(digest_size=16)
        self.events = 0
        self._born: set[str] = set()
        self.over: set[str] = set()
        """Jobs that ended, by the events."""

    @property
    def trace_hash(self) -> str:
        return self._hash.hexdigest()

    def note(self, line: str) -> None:
        self._hash.update(line.encode())

    def look(self) -> None:
        """What was touched since the last look."""
        marker = self._context.store.change_marker()
        if marker == self._marker:
            return
        self._marker = marker
        with self._context.store.read() as tx:
            found, self._cursor = tx.events.after(self._cursor, MOST_EVENTS)
            events = [event for _, event in found]
            if not events:
                return
            self._remember(events)
            self._raise(invariants.of_placings(events, self._clusters))
            for event in events:
                if event.kind.startswith("cluster.") and "from" in event.data:
                    self._clusters[ClusterId(event.subject)] = event.kind.removeprefix("cluster.")
            self._jobs(tx, sorted({JobId(each.job_id) for each in events if each.job_id is not None}))
            if any(event.kind.startswith(("attempt.", "node.")) for event in events):
                self._raise(invariants.of_floor(tx.audits.floor()))
            self.promises.look(tx, events)
            self._claims(tx, _claims_of(events))
            self.purchases.look(tx, events)
            self._world.serving.look(tx, events)
            self._ended(events)

    def look_at_all(self) -> None:
        self.look()
        with self._context.store.read() as tx:
            known = tx.audits.job_ids(None, MOST_EVENTS)
            missing = set(self._world.truth.acknowledged) - set(known)
            if missing and (lost := sorted(missing - self._archived())):
                raise Violation(f"acknowledged jobs are lost: {lost}")
            self._jobs(tx, known)
            self._claims(tx, [claim.id for claim in tx.claims.list(None, MOST_EVENTS)])
            self._names(tx, known)
            self._uploads(tx)
            self._raise(invariants.of_floor(tx.audits.floor()))
            if wrong := tx.counts.wrong():
                raise Violation(f"jobs are counted wrongly: {wrong}")
            self.purchases.look_at_all(tx)
            self._world.serving.look_at_all(tx)
            if self._world.steps % COMPARED_EVERY_STEPS == 0 or self._world.chance.is_calm:
                self._follower.compare(tx)
            self._raise(invariants.of_leases(tx.leases.every()))
            queued = [job.id for job in tx.jobs.many(known) if job.state is JobState.QUEUED]
        for job_id in queued:
            self._explained(job_id)

    def look_at_who_waits(self) -> None:
        """Nothing has happened for a while: what could be placed was, and all others are told the true reason."""
        with self._context.store.read() as tx:
            policy = self._world.admins.choice.policy
            plan = policy.plan(seen(tx, policy))
            self.promises.look_at_who_was_preempted(tx)
            served = [place.ask_id for place in plan.places]
            served += [preempt.ask_id for preempt in plan.preempts]
            if served:
                raise Violation(f"could be served and waits for ever: {served}")
            for defer in plan.defers:
                told = tx.reasons.get(defer.class_id)
                if told is None or told.code != defer.code:
                    raise Violation(f"class {defer.class_id} waits for {defer.code} and is told {told}")

    def look_at_the_end(self) -> None:
        """Faults stopped long ago: everything has ended, or waits for a reason that is true."""
        self.look_at_all()
        self.look_at_who_waits()
        with self._context.store.read() as tx:
            for job in tx.jobs.many(tx.audits.job_ids(None, MOST_EVENTS)):
                if job.state is JobState.ACTIVE:
                    raise Violation(f"job {job.id} is active for ever: {tx.attempts.of_job(job.id)[-1:]}")
                if job.state is JobState.HELD and all(
                    other.is_finished for other in tx.jobs.many(job.depends_on)
                ):
                    raise Violation(f"job {job.id} is held for ever, though all it waits for has ended")
            self.purchases.look_at_the_end(tx)
            self._world.serving.look_at_the_end(tx)
        if self._world.truth.running:
            raise Violation(f"user code runs for ever: {sorted(self._world.truth.running)}")

    def project_of(self, job_id: JobId) -> str:
        with self._context.store.read() as tx:
            return tx.jobs.many([job_id])[0].project_id

    def live_claims(self) -> int:
        with self._context.store.read() as tx:
            return len(tx.claims.live())

    def is_all_ended(self) -> bool:
        return len(self.over) >= len(self._born) and not self._world.truth.running

    def _remember(self, events: list[Event]) -> None:
        self.events += sum(not event.kind.startswith(IDLE_TALK) for event in events)
        for event in events:
            self.note(f"{event.kind} {event.subject} {event.at} {sorted(event.data.items())}\n")
            if event.kind in ("job.queued", "job.held"):
                self._born.add(event.subject)
            elif event.kind in ("job.succeeded", "job.failed", "job.cancelled"):
                self.over.add(event.subject)

    def _archived(self) -> set[str]:
        """Jobs that stand in the archive."""
        found: set[str] = set()
        for key, data in self._world.objects.objects.items():
            if key.startswith("archive/jobs/"):
                found |= _jobs_in(data)
        return found

    def _jobs(self, tx: Tx, job_ids: list[JobId]) -> None:
        dossiers = tx.audits.dossiers(job_ids)
        for dossier in dossiers:
            # The rules look at nothing else, so what reads as it did when they held needs no second look.
            if self._found_well.get(dossier.job.id) != dossier:
                self._raise(invariants.of_job(dossier))
                self._not_placed_in_vain(dossier)
                self._found_well[dossier.job.id] = dossier

    @staticmethod
    def _not_placed_in_vain(dossier: invariants.Dossier) -> None:
        """Here one writes after the other, so whoever places sees every wish that was kept before."""
        wished_at = dossier.job.cancel_requested_at
        for attempt in dossier.attempts:
            if wished_at is not None and attempt.placed_at > wished_at:
                raise Violation(f"attempt {attempt.id} was placed after its job was cancelled at {wished_at}")

    def _claims(self, tx: Tx, claim_ids: list[ClaimId]) -> None:
        for file in tx.audits.claim_files(claim_ids):
            self._raise(invariants.of_claim(file))

    def _names(self, tx: Tx, known: list[JobId]) -> None:
        """Every submit of ours has a name of its own, and a retry says so: two of a name are one request done twice."""
        seen: dict[str, JobId] = {}
        for job in tx.jobs.many(known):
            is_of_users = job.name.startswith(USERS_JOBS)
            if is_of_users and job.retry_of is None and seen.setdefault(job.name, job.id) != job.id:
                raise Violation(
                    f"{job.name} was submitted once and is there twice: {job.id}, {seen[job.name]}"
                )

    def _uploads(self, tx: Tx) -> None:
        """A row promises that the bytes are there."""
        for digest in sorted(self._world.truth.uploaded):
            if tx.uploads.get(digest) and uploads.upload_key(digest) not in self._world.objects.objects:
                raise Violation(f"upload {digest} has a row and no bytes")

    def _ended(self, events: list[Event]) -> None:
        for event in events:
            if event.kind == "attempt.ended" and self._world.truth.runs(AttemptId(event.subject)):
                raise Violation(f"attempt {event.subject} was ended while its code runs: {event.data}")

    def _explained(self, job_id: JobId) -> None:
        why = explain.explain(self._context, ROOT, job_id)
        if why.code not in CODES:
            raise Violation(f"job {job_id} waits for {why.code!r}, which is not in the closed list")

    @staticmethod
    def _raise(breaches: object) -> None:
        for breach in breaches:  # type: ignore[attr-defined]
            raise Violation(f"{breach.rule}: {breach.subject} {breach.sentence}")


@lru_cache(maxsize=MOST_ARCHIVES)
def _jobs_in(archive: bytes) -> frozenset[str]:
    rows = [json.loads(line) for line in gzip.decompress(archive).splitlines()]
    return frozenset(row["row"]["id"] for row in rows if row["table"] == "jobs")


def _claims_of(events: Sequence[Event]) -> list[ClaimId]:
    """Whose rows, launches or story these events changed."""
    subjects = {event.subject for event in events if event.kind.startswith("claim.")}
    launches = {str(event.data["claim_id"]) for event in events if event.kind.startswith("launch.")}
    return [ClaimId(each) for each in sorted(subjects | launches)]
