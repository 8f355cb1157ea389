"""Command lines and ports of an embedded cluster."""

import re
import socket
from pathlib import Path

import pytest

from cloud_adapters.local import ports
from cloud_adapters.local.commands import HEAD, Blueprint, environment, start_flags
from cloud_adapters.local.ports import PORTS_PER_NODE, NoFreePorts, Service, port_of, reserve
from cloud_adapters.local.shape import Shape

EPHEMERAL = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])


@pytest.fixture
def blueprint() -> Blueprint:
    return Blueprint(
        tag="abc",
        base_port=20_000,
        folder=Path("/short/x"),
        token_file=Path("/d/token"),
        shape=Shape(nodes=3),
    )


def flags(blueprint: Blueprint, slot: int) -> dict[str, str]:
    pairs = (flag.partition("=") for flag in start_flags(blueprint, slot))
    return {name: value for name, _, value in pairs}


def test_the_head_takes_no_tasks(blueprint: Blueprint) -> None:
    head = flags(blueprint, HEAD)
    assert (head["--num-cpus"], head["--num-gpus"]) == ("0", "0")


def test_nodes_count_gpus_that_user_code_does_not_look_for(blueprint: Blueprint) -> None:
    node = flags(blueprint, 1)
    assert (node["--num-gpus"], node["--resources"]) == ("0", '{"logical_gpu": 2}')


def test_only_the_head_names_the_folder(blueprint: Blueprint) -> None:
    assert ["--temp-dir" in flags(blueprint, slot) for slot in range(4)] == [True, False, False, False]


def test_no_port_is_given_twice(blueprint: Blueprint) -> None:
    given = [
        int(value)
        for slot in range(4)
        for name, value in flags(blueprint, slot).items()
        if re.search(r"port$", name) and "worker" not in name
    ]
    assert len(set(given)) == len(given) == 4 * 6 + 2
    ranges = [
        (flags(blueprint, slot)["--min-worker-port"], flags(blueprint, slot)["--max-worker-port"])
        for slot in range(4)
    ]
    assert not {port for low, high in ranges for port in range(int(low), int(high) + 1)} & set(given)


def test_secrets_of_the_server_do_not_reach_user_code(blueprint: Blueprint) -> None:
    ours = {"CROSSDOCK_HOME": "/h", "DATABASE_URL": "postgresql://u:p@h/d", "HOME": "/home/u", "PATH": "/bin"}
    given = environment(blueprint, 1, bin_folder=Path("/venv/bin"), ours=ours)
    assert {
        "HOME": "/home/u",
        "PATH": "/venv/bin:/bin",
        "CROSSDOCK_CLUSTER": "abc.1",
    }.items() <= given.items()
    assert not {"CROSSDOCK_HOME", "DATABASE_URL"} & given.keys()


def test_the_token_is_given_as_a_file_and_never_by_value(blueprint: Blueprint) -> None:
    given = environment(blueprint, HEAD, bin_folder=Path("/b"), ours={"RAY_AUTH_TOKEN": "somebody else's"})
    assert (given["RAY_AUTH_MODE"], given["RAY_AUTH_TOKEN_PATH"]) == ("token", "/d/token")
    assert "RAY_AUTH_TOKEN" not in given


def test_ports_lie_below_those_that_the_system_hands_out() -> None:
    base, held = reserve(2, None)
    with held:
        assert base >= ports.LOWEST
        assert base + 3 * PORTS_PER_NODE <= EPHEMERAL


def test_the_block_of_last_time_comes_first() -> None:
    base, held = reserve(1, None)
    held.close()
    again, held = reserve(1, base)
    held.close()
    assert again == base


def test_two_clusters_never_get_the_same_block() -> None:
    base, held = reserve(1, None)
    with held:
        other, also_held = reserve(1, base)
        also_held.close()
    assert other != base


def test_one_busy_port_spoils_a_block() -> None:
    base, held = reserve(1, None)
    held.close()
    with socket.create_server(("127.0.0.1", port_of(base, 1, Service.NODE_MANAGER))):
        other, held = reserve(1, base)
        held.close()
    assert other != base


def test_a_machine_without_free_ports_says_so() -> None:
    with pytest.raises(NoFreePorts, match="no 128128 free ports in a row"):
        reserve(1000, None)
