"""Tunnels: streams arrive whole and in order, a slow one holds up no other, and who breaks the rules is cut off."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controlplane.tunnels.frames import (
    MOST_PAYLOAD_BYTES,
    MOST_STREAMS,
    WINDOW_BYTES,
    Broken,
    Frame,
    Kind,
    credit,
    credited,
)
from controlplane.tunnels.tunnel import Stream, Tunnel
from tests.unit.tunnels.wires import MemoryWire, echo, joined


@given(kind=st.sampled_from(Kind), stream=st.integers(0, 2**32 - 1), payload=st.binary(max_size=1000))
def test_a_frame_comes_out_as_it_went_in(kind: Kind, stream: int, payload: bytes) -> None:
    frame = Frame(kind=kind, stream=stream, payload=payload)
    assert Frame.decoded(frame.encoded()) == frame


@pytest.mark.parametrize(
    "data", [b"", b"\x01", b"\x09\x00\x00\x00\x01", b"\x03\x00\x00\x00\x01" + bytes(MOST_PAYLOAD_BYTES + 1)]
)
def test_what_is_no_frame_breaks_the_tunnel(data: bytes) -> None:
    with pytest.raises(Broken):
        Frame.decoded(data)


def test_a_credit_is_four_bytes() -> None:
    assert credited(credit(2**32 - 1)) == 2**32 - 1
    with pytest.raises(Broken):
        credited(b"12345")


@settings(max_examples=25)
@given(
    texts=st.lists(
        st.lists(st.binary(min_size=1, max_size=3000), min_size=1, max_size=5), min_size=1, max_size=6
    )
)
def test_streams_that_cross_arrive_whole_and_in_order(texts: list[list[bytes]]) -> None:
    async def spoken(tunnel: Tunnel, pieces: list[bytes]) -> bytes:
        stream = await tunnel.open("x:1")
        for piece in pieces:
            await stream.write(piece)
        heard = b""
        while len(heard) < len(b"".join(pieces)):
            heard += await stream.read()
        await tunnel.done(stream)
        return heard

    async def play() -> list[bytes]:
        async with joined(echo) as (tunnel, _, _far):
            return await asyncio.gather(*(spoken(tunnel, pieces) for pieces in texts))

    assert asyncio.run(play()) == [b"".join(pieces) for pieces in texts]


def test_who_does_not_read_gets_one_window_and_holds_up_nobody_else() -> None:
    async def listen(target: str, stream: Stream) -> None:
        if target == "slow:1":
            await stream.welcome()
            await asyncio.Event().wait()
        await echo(target, stream)

    async def play() -> tuple[int, bytes]:
        async with joined(listen) as (tunnel, near, _):
            slow, quick = await tunnel.open("slow:1"), await tunnel.open("quick:1")
            writing = asyncio.ensure_future(slow.write(bytes(3 * WINDOW_BYTES)))
            await quick.write(b"hello")
            heard = await quick.read()
            writing.cancel()
            return near.data_bytes(), heard

    sent, heard = asyncio.run(play())
    assert (sent, heard) == (WINDOW_BYTES + 5, b"hello")


def test_more_than_a_window_goes_through_as_it_is_read() -> None:
    whole = bytes(range(256)) * (5 * WINDOW_BYTES // 256)

    async def play() -> bytes:
        async with joined(echo) as (tunnel, _, _far):
            stream = await tunnel.open("x:1")
            writing = asyncio.ensure_future(stream.write(whole))
            heard = b""
            while len(heard) < len(whole):
                heard += await stream.read()
            await writing
            return heard

    assert asyncio.run(play()) == whole


def test_what_was_written_before_the_end_is_still_read() -> None:
    async def say_and_leave(_target: str, stream: Stream) -> None:
        await stream.welcome()
        await stream.write(b"one")
        await stream.write(b"two")

    async def play() -> list[bytes]:
        async with joined(say_and_leave) as (tunnel, _, _far):
            stream = await tunnel.open("x:1")
            return [await stream.read() for _ in range(4)]

    assert asyncio.run(play()) == [b"one", b"two", b"", b""]


def test_a_refusal_says_why_and_the_near_end_opens_nothing_for_the_far_one() -> None:
    async def refuse(target: str, stream: Stream) -> None:
        await stream.close(f"not to {target}")

    async def play() -> None:
        async with joined(refuse) as (tunnel, near, far):
            with pytest.raises(ConnectionRefusedError, match="not to x:1"):
                await tunnel.open("x:1")
            near.said_something.clear()
            await far.send(Frame(kind=Kind.OPEN, stream=7, payload=b"inside:1").encoded())
            await asyncio.wait_for(near.said_something.wait(), 10)
            assert near.sent[-1] == Frame(kind=Kind.CLOSE, stream=7, payload=b"this end opens no connections")

    asyncio.run(play())


def test_when_the_wire_is_cut_every_stream_ends_and_no_new_one_opens() -> None:
    async def play() -> None:
        async with joined(echo) as (tunnel, near, _):
            stream = await tunnel.open("x:1")
            near.cut()
            assert await stream.read() == b""
            with pytest.raises(ConnectionError):
                await stream.write(b"more")
            with pytest.raises(ConnectionRefusedError, match="the tunnel has ended"):
                await tunnel.open("x:1")

    asyncio.run(play())


def test_there_is_a_limit_to_streams() -> None:
    async def play() -> None:
        async with joined(echo) as (tunnel, _, _far):
            streams = [await tunnel.open("x:1") for _ in range(MOST_STREAMS)]
            with pytest.raises(ConnectionRefusedError, match=f"{MOST_STREAMS} streams are open already"):
                await tunnel.open("x:1")
            await tunnel.done(streams[0])
            await tunnel.open("x:1")

    asyncio.run(play())


@pytest.mark.parametrize(
    "frames",
    [
        [Frame(kind=Kind.DATA, stream=1, payload=b"")],
        [Frame(kind=Kind.DATA, stream=1, payload=bytes(MOST_PAYLOAD_BYTES))] * 5,
        [Frame(kind=Kind.CREDIT, stream=1, payload=b"x")],
    ],
    ids=["nothing", "more than a window", "a crooked credit"],
)
def test_an_end_that_breaks_the_rules_is_cut_off(frames: list[Frame]) -> None:
    async def play() -> None:
        wire = MemoryWire()
        tunnel = Tunnel(wire)
        running = asyncio.ensure_future(tunnel.run())
        opening = asyncio.ensure_future(tunnel.open("x:1"))
        await wire.said_something.wait()
        for frame in [Frame(kind=Kind.OPENED, stream=1), *frames]:
            wire.inbox.put_nowait(frame.encoded())
        with pytest.raises(Broken):
            await running
        await asyncio.gather(opening, return_exceptions=True)

    asyncio.run(play())


def test_a_token_is_handed_to_the_far_end() -> None:
    told: list[str] = []

    async def keep(token: str) -> None:
        told.append(token)

    async def play() -> None:
        async with joined(echo, keep) as (tunnel, _, _far):
            await tunnel.hand_over("cdg_new")
            await (await tunnel.open("x:1")).close()

    asyncio.run(play())
    assert told == ["cdg_new"]
