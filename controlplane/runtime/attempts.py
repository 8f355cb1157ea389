"""The attempt loop's step: start, stop and observe through the executor, record what follows."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from controlplane.domain.attempts import AttemptState
from controlplane.domain.clusters import Endpoint
from controlplane.domain.copies import replace
from controlplane.domain.errors import Ambiguous, AuthFailed, PluginError, Transient
from controlplane.domain.ids import AttemptId, ClusterId
from controlplane.domain.twins import quick
from controlplane.executors.base import Executor
from controlplane.operations.context import Context
from controlplane.operations.endpoints import endpoint_of, site_endpoint
from controlplane.operations.freight import send
from controlplane.operations.orders import Papers, order_for, papers_for
from controlplane.reconcilers import attempts
from controlplane.runtime.attempt_views import Picture
from controlplane.runtime.jobs import judge_or_poke
from controlplane.store import Tx, WorkItem

START_SECONDS = 30.0
STOP_SECONDS = 10.0
LOOK_SECONDS = 10.0
WOKEN_AT_ONCE = 16
"""Placed attempts that are woken when a start is over; more than may start would only queue up again."""

NOTHING: Final = attempts.AttemptDecision()
"""About an attempt that is not there."""


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptTurn:
    item: WorkItem
    view: attempts.AttemptView | None
    """None: there is no such attempt."""

    decision: attempts.AttemptDecision
    papers: Papers | None = None
    """Of one that is to be started."""

    @property
    def lane(self) -> str | None:
        """Of the Ray that it runs on."""
        if self.view is None or self.decision.call is None:
            return None
        return self.view.attempt.claim_id or self.view.cluster.id

    @property
    def starts_on(self) -> ClusterId | None:
        """Where it takes up room for a start; once that is recorded the row counts instead."""
        return self.view.cluster.id if self.view is not None and self.view.may_start else None

    @property
    def ends_unheard(self) -> bool:
        """Ends without the final exit record: that would know better, and may have come since."""
        after = self.decision.save
        return after is not None and not after.is_live and self.view is not None and self.view.final is None

    def hears(self, heard: attempts.Heard) -> "AttemptTurn":
        if self.view is None:
            return self
        decision = attempts.decide(replace(self.view, heard=heard))
        return AttemptTurn(item=self.item, view=self.view, decision=decision, papers=self.papers)


class AttemptStep:
    def __init__(self, context: Context, executor: Executor) -> None:
        self._context = context
        self._executor = executor

    def begin(self, items: Sequence[WorkItem], under_way: Sequence[AttemptTurn]) -> Sequence[AttemptTurn]:
        starts = Counter(turn.starts_on for turn in under_way if turn.starts_on is not None)
        with self._context.store.read() as tx:
            picture = Picture.load(tx, [AttemptId(item.id) for item in items])
            views = picture.views(self._context.settings, starts_under_way=starts)
            decisions = {each: attempts.decide(view) for each, view in views.items()}
            starting = [
                views[each].attempt
                for each, decision in decisions.items()
                if isinstance(decision.call, attempts.Start)
            ]
            papers = papers_for(tx, starting)
        return [
            AttemptTurn(
                item=item,
                view=views.get(id_ := AttemptId(item.id)),
                decision=decisions.get(id_, NOTHING),
                papers=papers.get(id_),
            )
            for item in items
        ]

    def act(self, turns: Sequence[AttemptTurn]) -> Sequence[AttemptTurn]:
        endpoint = self._endpoint(turns)
        while any(turn.lane for turn in turns):
            heard = self._ask(turns, endpoint)
            turns = [turn.hears(heard[turn.item.id]) if turn.lane else turn for turn in turns]
        return turns

    def record(self, tx: Tx, turns: Sequence[AttemptTurn]) -> None:
        saved = [turn.decision.save for turn in turns if turn.decision.save is not None]
        tx.attempts.check_unheard([AttemptId(turn.item.id) for turn in turns if turn.ends_unheard])
        tx.attempts.save_many(saved)
        for turn in turns:
            if turn.view is not None and turn.decision.sends:
                send(tx, self._context.ids, turn.view.attempt)
        tx.work.poke_many("job", [each.job_id for each in saved if each.state is AttemptState.RUNNING])
        judge_or_poke(tx, [each for each in saved if not each.is_live])
        over = {each.claim_id for each in saved if not each.is_live and each.claim_id is not None}
        tx.work.poke_many("claim", sorted(over))
        tx.work.settle_many([(turn.item, turn.decision.look_again_at) for turn in turns])
        # Settled first: one of these turns may be waiting for the room that another leaves.
        for cluster_id, count in sorted(Counter(_started_on(turns)).items()):
            waiting = tx.attempts.waiting_to_start(cluster_id, max(WOKEN_AT_ONCE, count))
            tx.work.poke_many("attempt", waiting)

    def _endpoint(self, turns: Sequence[AttemptTurn]) -> Endpoint | None:
        """They are all on one Ray."""
        view = turns[0].view
        if view is None:
            return None
        if view.attempt.claim_id is None:
            return endpoint_of(self._context, view.cluster)
        with self._context.store.read() as tx:
            site = tx.sites.get(view.attempt.claim_id)
        return None if site is None else site_endpoint(self._context, view.cluster, site)

    def _ask(self, turns: Sequence[AttemptTurn], endpoint: Endpoint | None) -> Mapping[str, attempts.Heard]:
        """What each that wants to know something hears, by the item's id."""
        asking = [turn for turn in turns if turn.lane]
        if endpoint is None:
            silence = attempts.SawNothing(message="the cluster has no address yet")
            return {turn.item.id: silence for turn in asking}
        looking = [turn for turn in asking if isinstance(turn.decision.call, attempts.Look)]
        heard = self._look([AttemptId(turn.item.id) for turn in looking], endpoint)
        for turn in asking:
            match turn.decision.call:
                case attempts.Start():
                    heard[turn.item.id] = self._start(turn, endpoint)
                case attempts.TellStop():
                    heard[turn.item.id] = self._tell_stop(AttemptId(turn.item.id), endpoint)
                case _:
                    pass  # looked at above
        return heard

    def _look(self, ids: Sequence[AttemptId], endpoint: Endpoint) -> dict[str, attempts.Heard]:
        if not ids:
            return {}
        try:
            seen = self._executor.observe(endpoint, ids, deadline=LOOK_SECONDS)
        except PluginError as problem:
            return dict.fromkeys(ids, attempts.SawNothing(message=problem.message))
        return {each: attempts.Looked(observation=what) for each, what in zip(ids, seen, strict=True)}

    def _start(self, turn: AttemptTurn, endpoint: Endpoint) -> attempts.Heard:
        if turn.papers is None:
            return attempts.StartDelayed(message="it was not to be started when it was loaded")
        try:
            order = order_for(self._context, turn.papers, endpoint)
            return attempts.Started(session=self._executor.start(order, deadline=START_SECONDS))
        except (Transient, Ambiguous, AuthFailed) as problem:
            return attempts.StartDelayed(message=problem.message)
        except PluginError as problem:
            return attempts.StartRefused(message=problem.message)

    def _tell_stop(self, attempt_id: AttemptId, endpoint: Endpoint) -> attempts.Heard:
        try:
            self._executor.stop(endpoint, attempt_id, deadline=STOP_SECONDS)
        except PluginError:
            return attempts.StopTold()  # asked again at the next look; evidence decides, not this answer
        return attempts.StopTold()


def _started_on(turns: Iterable[AttemptTurn]) -> Iterable[ClusterId]:
    """Clusters on which a start is over, once for each that is."""
    for turn in turns:
        before, after = turn.view, turn.decision.save
        if before is None or after is None or after.state is AttemptState.STARTING:
            continue
        if before.attempt.state in (AttemptState.PLACED, AttemptState.STARTING):
            yield after.cluster_id
