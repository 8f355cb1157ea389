"""The service loop's step: load, decide and record in one transaction; services need no port calls."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from controlplane.domain.autoscaling import WATCHED
from controlplane.domain.copies import replace
from controlplane.domain.ids import RevisionId, ServiceId
from controlplane.domain.revisions import Revision
from controlplane.domain.services import KnownReplica, Service
from controlplane.operations import replicas, service_specs
from controlplane.operations.context import Context
from controlplane.reconcilers import services
from controlplane.reconcilers.services import FAILURES_KEPT, RevisionView, ServiceDecision, ServiceView
from controlplane.store import Tx, WorkItem


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceTurn:
    item: WorkItem

    @property
    def lane(self) -> None:
        """Nobody is called."""


class ServiceStep:
    def __init__(self, context: Context) -> None:
        self._ids = context.ids

    def begin(self, items: Sequence[WorkItem], under_way: Sequence[ServiceTurn]) -> Sequence[ServiceTurn]:
        del under_way
        return [ServiceTurn(item=item) for item in items]

    def act(self, turns: Sequence[ServiceTurn]) -> Sequence[ServiceTurn]:
        return turns

    def record(self, tx: Tx, turns: Sequence[ServiceTurn]) -> None:
        tx.work.settle_many([(turn.item, self._recorded(tx, ServiceId(turn.item.id))) for turn in turns])

    def _recorded(self, tx: Tx, service_id: ServiceId) -> datetime | None:
        """When to look again."""
        view = view_of(tx, service_id)
        if view is None:
            return None
        decision = services.decide(view)
        self._save(tx, view, decision)
        return decision.look_again_at

    def _save(self, tx: Tx, view: ServiceView, decision: ServiceDecision) -> None:
        service = decision.service
        if service != view.service:
            tx.services.save(service)
        revisions = {each.revision.id: each.revision for each in view.revisions}
        for revision in decision.revisions:
            revisions[revision.id] = revision
            tx.revisions.save(service, _without_secret(tx, revision) if revision.is_over else revision)
        for new in decision.submit:
            replicas.submit(tx, self._ids, service, revisions[new.revision_id], new)
        for job_id in decision.cancel:
            replicas.cancel(tx, job_id)


def view_of(tx: Tx, service_id: ServiceId) -> ServiceView | None:
    service = tx.services.get(service_id)
    if service is None:
        return None
    known: dict[RevisionId, list[KnownReplica]] = {}
    for each in tx.replicas.known(service_id, tx.now - FAILURES_KEPT):
        known.setdefault(each.replica.revision_id, []).append(each)
    revisions = _revisions(tx, service, known)
    turns = tx.replicas.turns([each.id for each in revisions])
    traffic = tx.loads.traffic(service_id)
    return ServiceView(
        service=service,
        revisions=tuple(
            RevisionView(
                revision=each,
                terms=service_specs.terms_of(each.spec),
                replicas=tuple(known.get(each.id, ())),
                last_turns={ordinal: turn for (id_, ordinal), turn in turns.items() if id_ == each.id},
                requests=traffic.get(each.id, (0, 0))[0],
                errors=traffic.get(each.id, (0, 0))[1],
            )
            for each in revisions
        ),
        loads=tuple(tx.loads.since(service_id, tx.now - WATCHED)),
        last_at=tx.loads.last_asked(service_id),
        now=tx.now,
    )


def _revisions(
    tx: Tx, service: Service, known: Mapping[RevisionId, Sequence[KnownReplica]]
) -> list[Revision]:
    """Those that are not over, and those that failed and have replicas left."""
    live = tx.revisions.live(service.id)
    left = {id_ for id_, each in known.items() if not all(replica.is_over for replica in each)}
    others = [tx.revisions.get(id_) for id_ in sorted(left - {each.id for each in live})]
    return sorted([*live, *(each for each in others if each is not None)], key=lambda each: each.number)


def _without_secret(tx: Tx, revision: Revision) -> Revision:
    """It never starts a replica again."""
    if revision.secret_id is not None:
        tx.secrets.delete(revision.secret_id)
    return replace(revision, secret_id=None)
