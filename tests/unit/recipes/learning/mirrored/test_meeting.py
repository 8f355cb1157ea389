"""Ranks that tell each other where they listen."""

import socket
from concurrent.futures import ThreadPoolExecutor

import pytest

from controlplane.recipes.learning.mirrored.meeting import NobodyCame, addresses

pytestmark = pytest.mark.sockets

HOST = "127.0.0.1"


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def test_every_rank_hears_the_same_list_by_rank_whoever_comes_first(port: int) -> None:
    with ThreadPoolExecutor(3) as pool:
        comes = [pool.submit(addresses, rank=rank, ranks=3, host=HOST, port=port) for rank in (2, 1, 0)]
    first, *others = [each.result() for each in comes]
    assert len(set(first)) == 3
    assert {each.partition(":")[0] for each in first} == {HOST}
    assert others == [first, first]


def test_who_waits_in_vain_says_for_whom(port: int) -> None:
    with pytest.raises(NobodyCame, match=r"ranks \[1, 2\] of 3 did not come"):
        addresses(rank=0, ranks=3, host=HOST, port=port, seconds=0.05)
    with pytest.raises(NobodyCame, match="rank 0 does not listen"):
        addresses(rank=1, ranks=3, host=HOST, port=port, seconds=0.05)
