"""User data: equal for equal orders, small enough for every cloud, and without secrets but the boot token."""

import ast
import base64
import json
import subprocess
import zlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from cloud_adapters.base import Boot, CapacityType, ClusterRef, Endpoint, LaunchOrder, Rejected
from cloud_adapters.boot.user_data import MOST_BYTES, PROGRAM, render
from controlplane.secrets.certificates import claim_authority

CA = claim_authority("plane.example", now=datetime(2031, 1, 1, tzinfo=UTC), validity=timedelta(days=1)).ca_pem


def order(boot: Boot | None = None) -> LaunchOrder:
    endpoint = Endpoint(url="https://10.0.0.1:8443", token="ray-token-of-another-time")
    cluster = ClusterRef(id="c1", name="c1", endpoint=endpoint, secret='{"secret_access_key": "hidden"}')
    return LaunchOrder(
        cluster=cluster,
        claim_id="clm_1",
        launch_id="lch_1",
        zone="z",
        machine_type="t",
        capacity_type=CapacityType.SPOT,
        machines=2,
        boot=boot or Boot(urls=("https://plane.example",), token="boot-token", ca_pem=CA),
    )


def part(text: str, name: str) -> str:
    return text.partition(f"cat > {name} <<'END'\n")[2].partition("\nEND\n")[0]


def test_equal_orders_make_equal_text() -> None:
    assert render(order()) == render(order())


def test_it_carries_the_program_and_its_order() -> None:
    text = render(order())
    assert zlib.decompress(base64.b85decode(part(text, "program.b85"))) == PROGRAM.read_bytes()
    assert json.loads(part(text, "order.json")) == {
        "version": 1,
        "claim_id": "clm_1",
        "launch_id": "lch_1",
        "urls": ["https://plane.example"],
        "token": "boot-token",
        "ca_pem": CA,
        "dead_man_seconds": 3600.0,
        "metadata": [
            {"kind": "aws", "url": "http://169.254.169.254"},
            {"kind": "alibaba", "url": "http://100.100.100.200"},
        ],
    }


def test_a_shell_can_read_it_and_the_timer_comes_first() -> None:
    text = render(order())
    checked = subprocess.run(["sh", "-n"], input=text, text=True, check=False, capture_output=True)
    assert (checked.returncode, checked.stderr) == (0, "")
    commands = [line for line in text.splitlines() if not line.startswith(("#", "umask"))]
    assert commands[0] == "shutdown -h +61"


def test_no_secret_of_the_cluster_is_in_it() -> None:
    text = render(order())
    assert [secret for secret in ("hidden", "ray-token-of-another-time") if secret in text] == []


def test_many_urls_and_a_long_chain_of_authorities_still_fit() -> None:
    urls = tuple(f"https://crossdock-{number}.department.example.com/a/prefix" for number in range(5))
    assert len(render(order(Boot(urls=urls, token="x" * 200, ca_pem=CA * 2)))) <= MOST_BYTES


def test_what_is_too_long_for_a_cloud_is_refused_here() -> None:
    with pytest.raises(Rejected, match=r"launch lch_1 takes [0-9]+ bytes, 16384 are allowed"):
        render(order(Boot(urls=("https://plane.example",), token="t", ca_pem=CA * 20)))


def test_without_a_boot_there_is_no_user_data() -> None:
    with pytest.raises(Rejected, match="lch_1"):
        render(replace(order(), boot=None))


def test_the_program_is_python_3_9() -> None:
    ast.parse(PROGRAM.read_bytes(), feature_version=(3, 9))
