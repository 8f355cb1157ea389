"""Exchanges: one request asked of a replica, and of another one where that helps, until an answer begins."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

import aiohttp

from controlplane.gateway.asking import Asked, avoiding, failure, turn_for
from controlplane.gateway.calls import Call
from controlplane.gateway.desk import Turn, Wish
from controlplane.gateway.loads import Loads
from controlplane.gateway.refusals import Late
from controlplane.gateway.replicas import BUSY, LEAVING, UNREACHED, Message, ask
from controlplane.gateway.retries import FAILURES, FREE, Mishap, may_repeat

UNASKED_STATUS: Final = 503
"""With a header that says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The head of an answer is there; whoever enters it has its rest, and ends it."""

    asked: Asked
    response: aiohttp.ClientResponse

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, problem: BaseException | None, _trace: TracebackType | None
    ) -> None:
        """A replica that breaks off or stands still in mid-answer has failed; a caller who goes away has not."""
        if isinstance(problem, aiohttp.ClientError):
            self.asked.mishap = Mishap.BROKEN
        elif isinstance(problem, Late):
            self.asked.mishap = self.asked.timed_out(Mishap.BROKEN)
        self.response.close()  # a connection whose answer was read to its end is in the pool again already
        self.asked.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """Shared by all requests of a gateway."""

    session: aiohttp.ClientSession
    loads: Loads
    clock: Callable[[], float]

    async def answer(self, call: Call, message: Message) -> Answer:
        """The last answer, whatever it says, if there is one. The caller of this has to enter it.

        Raises `TooMany`, `NoReplica`, `Late`, `BrokenOff`, and `TooLarge` out of the body.
        """
        call.desk.budget.note_request()
        wish, paid = Wish(draw_ppm=call.draw_ppm), 0
        while True:
            began_at = self.clock()
            turn = await turn_for(call, wish, self.clock)
            asked, response = await self._try(call, message, turn, began_at)
            mishap = asked.mishap
            is_again = mishap is not None and may_repeat(
                mishap,
                is_idempotent=message.is_idempotent,
                is_whole=message.body.is_whole,
                paid=paid,
                budget=call.desk.budget,
            )
            if response is not None:
                if not is_again:
                    return Answer(asked=asked, response=response)
                response.close()
            asked.close()
            if mishap is None or not is_again:
                raise failure(call, mishap)
            paid += mishap not in FREE
            wish = avoiding(wish, turn, mishap)

    async def _try(
        self, call: Call, message: Message, turn: Turn, began_at: float
    ) -> tuple[Asked, aiohttp.ClientResponse | None]:
        call.tries += 1
        asked = Asked(loads=self.loads, clock=self.clock, call=call, turn=turn, began_at=began_at)
        try:
            async with asyncio.timeout(max(0.0, call.deadline - self.clock())):
                response = await ask(self.session, turn.backend, turn.revision.key, message)
        except (aiohttp.ClientConnectorError, aiohttp.ClientHttpProxyError, aiohttp.ConnectionTimeoutError):
            asked.mishap = Mishap.REFUSED
        except TimeoutError as late:
            asked.mishap = asked.timed_out(Mishap.LATE)
            if message.body.rest is not None and not message.body.is_sent:
                call.desk.finished(turn)  # and not closed: it was the caller who took so long
                raise Late(f"the request did not arrive within {call.timeout_seconds:g} seconds") from late
        except (aiohttp.ClientError, OSError) as problem:
            asked.mishap = Mishap.BROKEN
            if message.body.problem is not None:
                call.desk.finished(turn)
                raise message.body.problem from problem
        except BaseException:
            call.desk.finished(turn)
            raise
        else:
            asked.mishap = mishap_of(response)
            call.revision = turn.revision.number
            return asked, response
        return asked, None


def mishap_of(response: aiohttp.ClientResponse) -> Mishap | None:
    if response.status in FAILURES and UNREACHED in response.headers:
        return Mishap.REFUSED
    if response.status == UNASKED_STATUS and LEAVING in response.headers:
        return Mishap.LEAVING
    if response.status == UNASKED_STATUS and BUSY in response.headers:
        return Mishap.BUSY
    return Mishap.FAILED if response.status in FAILURES else None
