"""An executor without work: remembers what it was told, with the vices of a real one.

It loses answers after the deed, takes orders it says it did not take, forgets everything when its cluster restarts, and
does not answer at all while it is cut off. Tests play the wrapper: they move `phases` and push records themselves.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from controlplane.domain.clusters import Endpoint
from controlplane.domain.errors import Ambiguous, Rejected, Transient
from controlplane.domain.ids import AttemptId
from controlplane.executors.base import Observation, Order, Phase


class Vice(StrEnum):
    """What may go wrong with one start."""

    LOSE_ANSWER = "lose answer"
    """Done, but the caller hears nothing."""

    FAIL = "fail"
    """Not done, and the caller hears so."""

    REFUSE = "refuse"
    """Will never be done."""


@dataclass(slots=True)
class FakeExecutor:
    session: str = "life-1"
    is_cut_off: bool = False
    vices: list[Vice] = field(default_factory=list)
    """Taken one per start, first to last."""

    orders: dict[AttemptId, Order] = field(default_factory=dict)
    phases: dict[AttemptId, Phase] = field(default_factory=dict)
    exit_codes: dict[AttemptId, int] = field(default_factory=dict)
    stops: list[AttemptId] = field(default_factory=list)
    starts: list[AttemptId] = field(default_factory=list)
    """Every start that did something: an id that is here twice has run twice."""

    def start(self, order: Order, *, deadline: float) -> str:
        self._answer_at_all(deadline)
        vice = self.vices.pop(0) if self.vices else None
        if vice is Vice.FAIL:
            raise Transient("not taken")
        if vice is Vice.REFUSE:
            raise Rejected("will never work")
        if order.attempt_id not in self.orders:
            self.orders[order.attempt_id] = order
            self.phases[order.attempt_id] = Phase.PENDING
            self.starts.append(order.attempt_id)
        if vice is Vice.LOSE_ANSWER:
            raise Ambiguous("the answer was lost")
        return self.session

    def stop(self, endpoint: Endpoint, attempt_id: AttemptId, *, deadline: float) -> None:
        del endpoint
        self._answer_at_all(deadline)
        if attempt_id in self.orders:
            self.stops.append(attempt_id)

    def observe(
        self, endpoint: Endpoint, attempt_ids: Sequence[AttemptId], *, deadline: float
    ) -> tuple[Observation, ...]:
        del endpoint
        self._answer_at_all(deadline)
        return tuple(
            Observation(
                attempt_id=each,
                phase=self.phases.get(each, Phase.ABSENT),
                session=self.session,
                exit_code=self.exit_codes.get(each),
            )
            for each in attempt_ids
        )

    def listed(self, endpoint: Endpoint, *, deadline: float) -> tuple[AttemptId, ...]:
        del endpoint
        self._answer_at_all(deadline)
        alive = (Phase.PENDING, Phase.RUNNING)
        return tuple(sorted(each for each, phase in self.phases.items() if phase in alive))

    def restart_cluster(self) -> None:
        """Another life: nothing of the earlier one is known."""
        self.session = f"life-{int(self.session.rpartition('-')[2]) + 1}"
        self.orders.clear()
        self.phases.clear()

    def _answer_at_all(self, deadline: float) -> None:
        if self.is_cut_off:
            raise Transient(f"no answer within {deadline:g} s")
