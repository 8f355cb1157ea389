"""Wrappers as docs/job-protocol.md promises them: hello before user code, a lease by their own clock, last words.

One `Wrapper` is an attempt on a site: a keeper per rank, and for a gang a coordinator beside rank 0.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from enum import Enum
from typing import TYPE_CHECKING, Final

from controlplane.executors.base import Order, OrderSeat, Phase
from controlplane.wire.protocol import RecordAnswer
from tests.sim.chance import Chance
from tests.sim.truth import Running, Truth
from tests.sim.usercode import check_inputs, drain, is_replica, leave_outputs, serve

if TYPE_CHECKING:
    from tests.sim.site import Site

COORDINATOR: Final = -1
GAVE_UP: Final = 75
TERMINATED: Final = 143
LAST_WORDS: Final = {"held back": 0.06}
"""On their way for about as long as a lease; whoever said them is gone when they arrive."""

STAMP: Final = datetime(2026, 1, 1, tzinfo=UTC).isoformat()
CLOCKS: Final = (0.9, 1.0, 1.0, 1.12)
"""How long a keeper's second is; within a lease it gains or loses less than `clock_skew_seconds`."""


Record = dict[str, object]


class Silence(Enum):
    """A request that was not answered with 200."""

    GONE = "gone"
    """410."""

    NONE = "none"
    """Refused, lost on the way, or its answer was."""


Answer = RecordAnswer | Silence


class Keeper:
    """Runs one rank's user code and speaks for it."""

    def __init__(self, wrapper: "Wrapper", seat: OrderSeat) -> None:
        self.wrapper = wrapper
        self.seat = seat
        self.is_alive = True
        self.has_ended = False
        """No user code of this rank runs, and none will."""

        self.is_told = False
        """Its own exit record was acknowledged, or it gave up telling."""

        self.code: int | None = None
        self.reason = ""
        self.is_stopping = False
        self.seq = 0
        self._exit_seq: int | None = None
        self._lease_until = 0.0
        self._give_up_at = 0.0
        self._name = f"{wrapper.order.attempt_id} {seat.rank}"
        self._slowness = wrapper.site.chance.pick(f"clock {self._name}", CLOCKS)

    def begin(self) -> None:
        self.seq = 1
        self._give_up_at = self._now + self._order.start_timeout_seconds
        self._say_hello()

    def stop(self) -> None:
        """SIGTERM from outside, or the control plane's wish."""
        if not self.is_alive or self.has_ended or self.is_stopping:
            return
        self.is_stopping = True
        if (self._order.attempt_id, self.seat.rank) not in self._truth.running:
            self.finish(TERMINATED, "stopped")
            return
        drain(self)
        takes = self._chance.between(f"grace {self._name}", 0.0, 1.2) * self._order.grace_seconds
        self.later(min(takes, self._order.grace_seconds), lambda: self.finish(TERMINATED, "stopped"))

    def say(self, record: Record) -> None:
        """Until it is heard, or the end is what there is to say."""
        if self.is_alive and not self.has_ended and self.post([record]) is Silence.NONE:
            self.later(1.0, lambda: self.say(record))

    def was_heard(self, record: Record) -> bool:
        """Said once."""
        return isinstance(self.post([record]), RecordAnswer)

    def die(self) -> None:
        """The process and its user code are gone, without a word."""
        self.is_alive = False
        self._truth.end(self._order.attempt_id, self.seat.rank)

    def _say_hello(self) -> None:
        if not self.is_alive or self.has_ended:
            return
        if self._now > self._give_up_at:
            self.finish(GAVE_UP, "start_timeout")
            return
        sent_at = self._now
        answer = self.post([{"seq": 1, "kind": "hello", "at": STAMP, "host": self.seat.node_name, "pid": 1}])
        if answer is Silence.GONE:
            self._fenced()
        elif isinstance(answer, RecordAnswer) and answer.stop:
            self.is_stopping = True
            self.finish(TERMINATED, "stopped")
        elif isinstance(answer, RecordAnswer):
            self._renew(sent_at, answer.lease_seconds)
            self._run()
        else:
            self.later(self._chance.between(f"patience {self._name}", 0.2, 2.0), self._say_hello)

    def _run(self) -> None:
        if not self.is_alive or self.has_ended:
            return  # it was killed while it waited for the answer
        if self._now >= self._lease_until:
            self.finish(GAVE_UP, "lease_lost")
            return
        order, machine = self._order, self.seat.node_name
        running = Running(
            order.attempt_id, self.seat.rank, order.job_id, self._site.name, machine, self.seat.amounts
        )
        self._truth.begin(running, self._site.room(machine))
        check_inputs(order, self._site)
        self.later(order.lease_seconds / 4, self._beat)
        self._watch_lease()
        if is_replica(order):
            serve(self)
        elif "HANGS" not in order.environment:
            seconds = self._chance.between(f"length {self._name}", 0.5, 90.0)
            fails = self._chance.is_so(f"verdict {self._name}", 0.15)
            self.later(seconds, lambda: self.finish(int(fails), "failed" if fails else "completed"))

    def _beat(self) -> None:
        if not self.is_alive or self.has_ended:
            return
        sent_at = self._now
        answer = self.post([])
        if answer is Silence.GONE:
            self._fenced()
            return
        if isinstance(answer, RecordAnswer):
            if not self.is_stopping:
                self._renew(sent_at, answer.lease_seconds)
            if answer.stop:
                self.stop()
        pause = self._order.lease_seconds / 4 if isinstance(answer, RecordAnswer) else 1.0
        self.later(pause, self._beat)

    def _renew(self, sent_at: float, lease_seconds: float) -> None:
        self._lease_until = max(self._lease_until, sent_at + lease_seconds * self._slowness)

    def _watch_lease(self) -> None:
        if not self.is_alive or self.has_ended:
            return
        margin = min(self._order.grace_seconds, self._order.lease_seconds / 3)
        left = self._lease_until - self._now
        if left <= 0.25:
            self.finish(GAVE_UP, "lease_lost")
        elif left <= margin:
            self.is_stopping = True  # SIGTERM; a renewal changes nothing any more
            self.later(left - 0.25, lambda: self.finish(GAVE_UP, "lease_lost"))
        else:
            self.later(left - margin, self._watch_lease)

    def _fenced(self) -> None:
        """410: kills at once, says nothing more."""
        if self.is_alive and not self.has_ended:
            self.finish(GAVE_UP, "fenced")

    def finish(self, code: int, reason: str) -> None:
        if not self.is_alive or self.has_ended:
            return
        self.has_ended = True
        self.code, self.reason = code, reason
        self._truth.end(self._order.attempt_id, self.seat.rank)
        if reason == "completed":
            leave_outputs(self._order, self._site)
        self._give_up_at = self._now + max(self._order.lease_seconds, self._order.grace_seconds)
        self.wrapper.rank_ended(self)
        if reason == "fenced":
            self.is_told = True
            self.wrapper.rank_told()
        elif self._chance.fault(f"last words {self._name}", LAST_WORDS) is None:
            self._tell()
        else:
            low, high = 0.9 * self._order.lease_seconds, 2.0 * self._order.lease_seconds
            self.later(self._chance.between(f"held back {self._name}", low, high), self._tell)

    def _tell(self) -> None:
        if not self.is_alive or self.is_told:
            return
        record = exit_record(self._exit_number(), self.code, self.reason, final=not self.wrapper.is_gang)
        answer = self.post([record])
        if answer is not Silence.NONE or self._now > self._give_up_at:
            self.is_told = True
            self.wrapper.rank_told()
        else:
            self.later(self._chance.between(f"patience {self._name}", 0.2, 2.0), self._tell)

    def _exit_number(self) -> int:
        if self._exit_seq is None:
            self.seq += 1
            self._exit_seq = self.seq
        return self._exit_seq

    def post(self, records: list[Record]) -> Answer:
        return self.wrapper.post(self.seat.rank, records)

    def later(self, seconds: float, deed: Callable[[], None]) -> None:
        self._site.timeline.after(seconds, deed)

    @property
    def _order(self) -> Order:
        return self.wrapper.order

    @property
    def _site(self) -> "Site":
        return self.wrapper.site

    @property
    def _truth(self) -> Truth:
        return self.wrapper.site.truth

    @property
    def _chance(self) -> Chance:
        return self.wrapper.site.chance

    @property
    def _now(self) -> float:
        return self.wrapper.site.timeline.seconds


class Wrapper:
    def __init__(self, site: "Site", order: Order) -> None:
        self.site = site
        self.order = order
        self.phase = Phase.PENDING
        self.exit_code: int | None = None
        self.keepers = [Keeper(self, seat) for seat in order.seats]
        self.is_gang = len(order.seats) > 1
        self._verdict: tuple[int, str] = (0, "completed")
        self._has_coordinator = True
        self._give_up_at = 0.0
        site.timeline.after(site.chance.between(f"boot {order.attempt_id}", 0.2, 8.0), self._boot)

    def stop(self) -> None:
        """As Ray does it: a pending job is forgotten, a running one gets SIGTERM."""
        if self.phase is Phase.PENDING:
            self.phase = Phase.DIED
        elif self.phase is Phase.RUNNING and self._has_coordinator:
            self._stop_all()

    def lose_machine(self, machine: str) -> None:
        """Everything on it dies with it; a coordinator that lost sight of a rank cannot vouch for it any more."""
        lost = [keeper for keeper in self.keepers if keeper.seat.node_name == machine and keeper.is_alive]
        for keeper in lost:
            keeper.die()
        if not lost or self.phase is not Phase.RUNNING:
            return
        self.phase = Phase.DIED
        self._has_coordinator = False
        self._stop_all()

    def die(self) -> None:
        """SIGKILL of the wrapper: alone it takes its user code along, the keepers of a gang read the end of a pipe."""
        if self.phase is not Phase.RUNNING:
            return
        self.phase = Phase.DIED
        self._has_coordinator = False
        if self.is_gang:
            self._stop_all()
        else:
            self.keepers[0].die()

    def end_of_life(self) -> None:
        """The whole cluster was restarted."""
        self.phase = Phase.DIED
        self._has_coordinator = False
        for keeper in self.keepers:
            keeper.die()

    def rank_ended(self, keeper: Keeper) -> None:
        if self.is_gang and keeper.reason != "completed" and self._has_coordinator:
            if self._verdict[1] == "completed":
                self._verdict = (keeper.code or 0, keeper.reason)
            self._stop_all()

    def rank_told(self) -> None:
        """The last words of a rank were delivered, or will never be."""
        if not self._has_coordinator or not all(keeper.is_told for keeper in self.keepers):
            return
        if not self.is_gang:
            only = self.keepers[0]
            self._exit(only.code or 0, only.reason)
        elif self.phase is Phase.RUNNING and not self._give_up_at:
            self._give_up_at = self.site.timeline.seconds + self.order.lease_seconds
            self._tell()

    def post(self, rank: int, records: list[Record]) -> Answer:
        return self.site.post(self.order, rank, records)

    def _boot(self) -> None:
        if self.phase is not Phase.PENDING or self.site.knows_not(self):
            return
        if any(seat.node_name not in self.site.machines for seat in self.order.seats):
            self.site.timeline.after(5.0, self._boot)  # Ray waits for resources that are not there
            return
        self.phase = Phase.RUNNING
        for keeper in self.keepers:
            self.site.timeline.after(
                self.site.chance.between(f"keeper {self.order.attempt_id}", 0.1, 5.0), keeper.begin
            )

    def _tell(self) -> None:
        if not self._has_coordinator:
            return
        code, reason = self._verdict
        answer = self.post(COORDINATOR, [exit_record(1, code, reason, final=True)])
        if answer is not Silence.NONE or self.site.timeline.seconds > self._give_up_at:
            self._exit(code, reason)
        else:
            self.site.timeline.after(1.0, self._tell)

    def _exit(self, code: int, reason: str) -> None:
        self.phase = Phase.EXITED
        self.exit_code = GAVE_UP if reason in ("lease_lost", "start_timeout", "fenced") else code

    def _stop_all(self) -> None:
        for keeper in self.keepers:
            keeper.stop()


def exit_record(seq: int, code: int | None, reason: str, *, final: bool) -> Record:
    return {"seq": seq, "kind": "exit", "at": STAMP, "code": code, "reason": reason, "final": final}
