"""Asking one replica: how a request gets leave to, and what is learned from it, over HTTP and gRPC alike."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final

from controlplane.domain.errors import ControlPlaneError
from controlplane.gateway.calls import Call
from controlplane.gateway.desk import Turn, Wish
from controlplane.gateway.loads import Loads
from controlplane.gateway.refusals import BrokenOff, Late
from controlplane.gateway.retries import TIMED_OUT, Mishap

FAIR_SHARE: Final = 0.5
"""Of the service's timeout a replica must have had before being late counts against it.

As much of its own timeout is kept for the replica when a request waits in line: else, with more requests than replicas
can answer, each would be given its turn when its time is all but over, and be in vain.
"""


@dataclass(slots=True, kw_only=True)
class Asked:
    """One replica, asked once; it is occupied until `close`."""

    loads: Loads
    clock: Callable[[], float]
    call: Call
    turn: Turn
    began_at: float
    mishap: Mishap | None = None
    given_at: float = field(init=False)
    """When it had its turn: what went before is not the replica's fault."""

    def __post_init__(self) -> None:
        self.given_at = self.clock()

    def timed_out(self, fault: Mishap) -> Mishap:
        """That, if the replica had enough time; a caller in a hurry, and one who waited long, say nothing of it."""
        had = min(self.clock() - self.given_at, self.call.timeout_seconds)
        enough = FAIR_SHARE * self.call.desk.route.limits.timeout_seconds
        return fault if had >= enough else Mishap.HURRIED

    def close(self) -> None:
        self._note()
        self.call.desk.finished(self.turn)

    def _note(self) -> None:
        """Every replica that was asked counts, so that a bad revision shows though its callers got good answers."""
        outliers, now = self.call.desk.outliers, self.clock()
        attempt_id = self.turn.backend.attempt_id
        match self.mishap:
            case None:
                outliers.succeeded(attempt_id)
            case Mishap.REFUSED:
                outliers.refused(attempt_id, now)
                return  # a machine that is gone says nothing of the revision
            case Mishap.LEAVING:
                outliers.leaves(attempt_id)
                return  # it only did what it was told
            case Mishap.BUSY:
                outliers.busy(attempt_id, now)
                return  # other gateways have traffic, too
            case Mishap.HURRIED:
                return  # another one would have been late, too
            case _:
                outliers.failed(attempt_id, now)
        self.loads.ended(
            self.call.desk.route.service_id,
            self.turn.revision.revision_id,
            took_ms=1000 * (now - self.began_at),
            is_error=self.mishap is not None,
        )


async def turn_for(call: Call, wish: Wish, clock: Callable[[], float]) -> Turn:
    """Waking a service up is not held against those who did not say how long they would wait.

    Over all tries it takes no longer than the service allows: a replica that refuses every connection is asleep
    again after each try, and who asks it would wait forever.
    """
    has_replica = call.desk.has_replica
    began_at, is_put_off = clock(), not call.is_strict and not has_replica
    kept = FAIR_SHARE * call.timeout_seconds if has_replica else 0.0
    left = max(0.0, call.desk.route.limits.wake_seconds - call.woken_seconds) if is_put_off else 0.0
    turn = await call.desk.turn(wish, until=call.deadline + left - kept)
    waited = clock() - began_at
    call.waited_seconds += waited
    if is_put_off:
        put_off = min(waited, left)
        call.woken_seconds += put_off
        call.deadline += put_off
    return turn


def avoiding(wish: Wish, turn: Turn, mishap: Mishap) -> Wish:
    """A replica that failed may be one of a revision that fails: another revision is the better bet then."""
    if mishap is Mishap.BUSY:
        return wish  # nothing is wrong with it
    avoided = replace(wish, avoided_attempts=wish.avoided_attempts | {turn.backend.attempt_id})
    if mishap is not Mishap.FAILED:
        return avoided
    return replace(avoided, avoided_revisions=wish.avoided_revisions | {turn.revision.revision_id})


def failure(call: Call, mishap: Mishap | None) -> ControlPlaneError:
    name = call.desk.name
    if mishap in TIMED_OUT:
        return Late(f"a replica of {name} did not answer within {call.timeout_seconds:g} seconds")
    return BrokenOff(f"a replica of {name} broke off before it answered, and the request may not be repeated")
