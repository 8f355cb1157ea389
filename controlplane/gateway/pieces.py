"""Pieces: one inference that a caller wants split, asked of several replicas at once."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import aiohttp

from controlplane.domain.errors import Conflict
from controlplane.gateway.bodies import held
from controlplane.gateway.calls import Call
from controlplane.gateway.exchange import Exchange
from controlplane.gateway.refusals import BrokenOff, Late
from controlplane.gateway.replicas import Message
from controlplane.gateway.split import Unjoinable, join

MOST_ROUNDS: Final = 2
OK: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Whole:
    """What the caller gets: the joined answer, or the first one that was none."""

    status: int
    content_type: str
    content: bytes


class TwoRevisions(Conflict):
    """The service changed while the parts were under way."""


async def gathered(exchange: Exchange, call: Call, message: Message, parts: Sequence[bytes]) -> Whole:
    """All parts go to one revision: where one is replaced in between, all are asked anew, once.

    Raises what an exchange raises; the other parts are given up then.
    """
    for _ in range(MOST_ROUNDS):
        try:
            return await _round(exchange, call, message, parts)
        except TwoRevisions:
            continue
    raise BrokenOff(f"revisions of {call.desk.name} change faster than its parts are answered")


async def _round(exchange: Exchange, call: Call, message: Message, parts: Sequence[bytes]) -> Whole:
    calls = [replace(call, tries=0, waited_seconds=0.0, revision=None) for _ in parts]
    for each in calls:
        each.deadline = call.deadline
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(_part(exchange, one, replace(message, body=held(part))))
                for one, part in zip(calls, parts, strict=True)
            ]
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from failures
    finally:
        call.tries += sum(each.tries for each in calls)
    answers = [each.result() for each in tasks]
    for answer in answers:
        if answer.status != OK:
            return answer
    if len({each.revision for each in calls}) > 1:
        raise TwoRevisions
    call.revision = calls[0].revision
    try:
        content = join([each.content for each in answers])
    except Unjoinable as problem:
        raise BrokenOff(f"{call.desk.name}: {problem}") from problem
    return Whole(status=OK, content_type="application/json", content=content)


async def _part(exchange: Exchange, call: Call, message: Message) -> Whole:
    answer = await exchange.answer(call, message)
    try:
        async with answer:
            try:
                async with asyncio.timeout(max(0.0, call.deadline - exchange.clock())):
                    content = await answer.response.read()
            except TimeoutError:
                raise Late(f"a replica of {call.desk.name} stopped in its answer") from None
    except aiohttp.ClientError as problem:
        raise BrokenOff(f"a replica of {call.desk.name} broke off in its answer") from problem
    content_type = answer.response.content_type
    return Whole(status=answer.response.status, content_type=content_type, content=content)
