"""What an agent connects to: the hosts and networks that its operator wrote down, and nothing beside them."""

import asyncio
import gc

import pytest

from controlplane.tunnels.agent import connector
from controlplane.tunnels.frames import Frame, Kind
from controlplane.tunnels.targets import Target, is_covered, place_of
from tests.unit.tunnels.wires import joined


@pytest.mark.parametrize(
    ("target", "inside", "outside"),
    [
        ("127.0.0.1:8265", ["127.0.0.1:8265"], ["127.0.0.1:8266", "127.0.0.2:8265", "localhost:8265"]),
        ("Head:8265", ["head:8265", "HEAD:8265"], ["head.example:8265"]),
        ("[::1]:80", ["[::1]:80"], ["[::2]:80"]),
        ("10.4.0.7:1024-65535", ["10.4.0.7:1024", "10.4.0.7:65535"], ["10.4.0.7:1023", "10.4.0.8:1024"]),
        ("10.4.0.0/16:1024-65535", ["10.4.255.1:9000"], ["10.5.0.1:9000", "10.4.0.1:80", "head:9000"]),
        ("fd00::/64:9000", ["[fd00::7]:9000"], ["[fd01::7]:9000", "10.4.0.1:9000"]),
        ("0.0.0.0/0:1-65535", ["10.4.0.1:22"], ["127.0.0.1:22", "169.254.169.254:80"]),
    ],
)
def test_a_target_covers_what_it_says(target: str, inside: list[str], outside: list[str]) -> None:
    targets = [Target.parsed(target)]
    assert [place for place in inside if not is_covered(targets, *place_of(place))] == []
    assert [place for place in outside if is_covered(targets, *place_of(place))] == []


@pytest.mark.parametrize(
    "target",
    ["", "head", "head:", ":80", "head:x", "head:0", "head:70000", "head:9-8", "10.4.0.1/16:80", "head/8:80"],
)
def test_what_is_no_target_is_refused(target: str) -> None:
    with pytest.raises(ValueError, match=r"is not|not a range|host bits|not appear"):
        Target.parsed(target)


@pytest.mark.sockets
def test_a_connection_is_closed_though_the_tunnel_ends_before_anybody_heard_of_it() -> None:
    hung_up = asyncio.Event()

    async def target(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.read() == b""
        writer.close()
        hung_up.set()

    async def play() -> None:
        door = await asyncio.start_server(target, "127.0.0.1", 0)
        place = f"127.0.0.1:{door.sockets[0].getsockname()[1]}"
        async with joined(connector([Target.parsed(place)])) as (tunnel, _, far):

            async def fails(message: bytes) -> None:
                assert Frame.decoded(message).kind is Kind.OPENED
                raise ConnectionResetError("cut")

            far.send = fails  # type: ignore[method-assign]
            opening = asyncio.ensure_future(tunnel.open(place))
            await asyncio.wait_for(hung_up.wait(), 10)
            opening.cancel()
            await asyncio.gather(opening, return_exceptions=True)
        door.close()

    asyncio.run(play())
    gc.collect()  # a connection that nobody closed would complain now
