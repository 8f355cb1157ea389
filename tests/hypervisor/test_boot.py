"""Machines that really boot: from rendered user data to one Ray cluster that is dialled over TLS, and to their end."""

import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec

import pytest

from cloud_adapters import dialling
from cloud_adapters.base import CLAIM_LABEL, AuthFailed, Transient
from controlplane.secrets.certificates import claim_authority
from tests.hypervisor import namespaces
from tests.hypervisor.desk import BOOT_TOKEN, TLS_PORT, Desk
from tests.hypervisor.hypervisor import Guest, Hypervisor
from tests.hypervisor.relays import Cloud
from tests.hypervisor.site import JOIN_SECONDS, Site
from tests.parts import require_part

QUICK_SECONDS = 60.0


@contextmanager
def site(*, minute_seconds: float = 60.0, is_holding: bool = True) -> Iterator[Site]:
    """With a desk that holds, every machine waits for a head, and no Ray is needed."""
    require_part("namespaces", namespaces.is_available(), "needs root and Linux namespaces")
    with (
        Desk(is_holding=is_holding) as desk,
        Hypervisor(reach=(desk.port,), minute_seconds=minute_seconds) as made,
    ):
        yield Site(desk, made)


def ends(guest: Guest, within: float = QUICK_SECONDS) -> bool:
    """By itself, and in good order."""
    return guest.cell.wait(within) == 0


@pytest.mark.verify
@pytest.mark.timeout(600)
def test_three_machines_become_one_cluster_that_is_dialled_over_tls_alone() -> None:
    require_part("ray", find_spec("ray") is not None, "it is not installed")
    names = ("i-1", "i-2", "i-3")
    with site(is_holding=False) as standing:
        for name in names:
            standing.boot(name, Cloud.ALIBABA if name == "i-3" else Cloud.AWS)
        standing.wait(lambda: standing.phases() == dict.fromkeys(names, "up"), JOIN_SECONDS)
        standing.wait(lambda: len(standing.inventory().machines) == 3, JOIN_SECONDS)

        it_is_one_cluster(standing, names)
        the_way_in_is_tls_with_the_pinned_authority(standing)
        a_job_runs_as_a_user_without_rights(standing)

        standing.desk.is_over = True
        assert [ends(standing.hypervisor.guest(name)) for name in names] == [True, True, True]


def it_is_one_cluster(standing: Site, names: tuple[str, ...]) -> None:
    machines = standing.inventory().machines
    labels = [dict(machine.labels) for machine in machines]
    assert sorted(each["crossdock.io/machine"] for each in labels) == list(names)
    assert {(each[CLAIM_LABEL], each["zone"]) for each in labels} == {("clm-1", "z1")}
    assert {machine.host for machine in machines} == set(standing.hypervisor.addresses.values())


def the_way_in_is_tls_with_the_pinned_authority(standing: Site) -> None:
    with pytest.raises(AuthFailed):
        standing.inventory(token="a guess")
    authority = standing.desk.authority
    stranger = claim_authority(authority.server_name, now=datetime.now(UTC), validity=timedelta(days=1))
    with pytest.raises(Transient, match="certificate"):
        standing.inventory(ca_pem=stranger.ca_pem)
    head = standing.desk.head
    assert head is not None
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((head["host"], 8265), timeout=5)
    with socket.create_connection((head["host"], TLS_PORT), timeout=20) as plain:
        plain.sendall(b"GET /api/version HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"ray_version" not in plain.recv(4096)


def a_job_runs_as_a_user_without_rights(standing: Site) -> None:
    tries = "id -un; cat /var/lib/crossdock/order.json || echo unread; shutdown -c || echo undisturbed"
    with dialling.client(standing.endpoint()) as ray:
        submitted = ray.post("/api/jobs/", json={"entrypoint": tries, "submission_id": "job-1"}, timeout=60)
        assert submitted.status_code == 200, submitted.text
        ended = ""
        until = time.monotonic() + 120
        while ended not in {"SUCCEEDED", "FAILED"} and time.monotonic() < until:
            ended = ray.get("/api/jobs/job-1", timeout=60).json()["status"]
            time.sleep(0.2)  # poll
        logs = ray.get("/api/jobs/job-1/logs", timeout=60).json()["logs"]
    assert ended == "SUCCEEDED", logs
    assert [word for word in ("crossdock\n", "unread", "undisturbed") if word not in logs] == []
    assert BOOT_TOKEN not in logs


def test_a_spot_notice_is_told_at_once_on_both_clouds() -> None:
    with site() as standing:
        for cloud in Cloud:
            standing.boot(cloud, cloud)
        standing.wait(lambda: standing.phases() == {"alibaba": "booting", "aws": "booting"})
        standing.desk.again_after_seconds = 3600.0
        for cloud in Cloud:
            standing.metadata[cloud].give_notice("2031-01-02T03:04:05Z")
        told = {"kind": "spot", "at": "2031-01-02T03:04:05Z"}
        standing.wait(
            lambda: [said["notice"] for said in standing.desk.latest().values()] == [told, told],
            QUICK_SECONDS,
        )


def test_a_machine_whose_claim_is_over_ends() -> None:
    with site() as standing:
        standing.desk.is_over = True
        guest = standing.boot("i-1")
        assert ends(guest)
        assert "the claim is over" in guest.log("crossdock-machine.service.log")


def test_a_machine_that_reaches_nobody_ends_after_the_dead_mans_time() -> None:
    with site() as standing:
        standing.desk.dead_man_seconds = 3.0
        guest = standing.boot("i-1")
        standing.wait(lambda: "i-1" in standing.phases())
        standing.desk.is_cut = True
        assert ends(guest)
        assert "no contact with the control plane for 3 s" in guest.log("crossdock-machine.service.log")


def test_a_machine_with_a_wrong_token_gets_no_part_and_ends_after_the_dead_mans_time() -> None:
    with site() as standing:
        standing.desk.dead_man_seconds = 3.0
        guest = standing.boot("i-1", token="a guess")
        assert ends(guest)
        assert (standing.desk.said, standing.desk.refused > 1) == ([], True)
        assert "a guess" not in guest.log("crossdock-machine.service.log")


@pytest.mark.verify  # systemd waits half a minute for a program that hangs
def test_a_program_that_hangs_disarms_nothing() -> None:
    with site(minute_seconds=4.0) as standing:
        standing.desk.dead_man_seconds = 8.0  # so the system is armed for two minutes, of four seconds each
        guest = standing.boot("i-1")
        standing.wait(lambda: len(standing.desk.said) > 20)  # 10 s: without renewing, it would be off by now
        standing.hypervisor.signal("i-1", "program.py", signal.SIGSTOP)
        assert ends(guest)
        assert "ends this machine" not in guest.log("crossdock-machine.service.log")


@pytest.mark.verify  # five starts, further and further apart
def test_a_machine_where_ray_does_not_stay_says_why_and_ends() -> None:
    with site(is_holding=False) as standing:
        guest = standing.boot("i-1", ray="/bin/false")
        assert ends(guest, JOIN_SECONDS)
        last = standing.desk.latest()["i-1"]
        assert (last["phase"], last["notice"]) == ("leaving", None)
        assert last["problem"] == "ray ended with code 1, 5 of 5 starts; it said: "


def test_a_machine_without_ray_on_its_image_says_so() -> None:
    with site(is_holding=False) as standing:
        standing.boot("i-1", ray="/nowhere/ray")
        standing.wait(
            lambda: "i-1" in standing.phases() and standing.desk.latest()["i-1"]["problem"] is not None
        )
        assert "the image has no `ray` on" in standing.desk.latest()["i-1"]["problem"]


def test_a_program_that_dies_is_started_again_and_knows_who_it_is() -> None:
    with site() as standing:
        standing.boot("i-1")
        standing.wait(lambda: "i-1" in standing.phases())
        standing.hypervisor.signal("i-1", "program.py", signal.SIGKILL)
        before = len(standing.desk.said)
        standing.wait(lambda: len(standing.desk.said) > before + 1)
        assert list(standing.phases()) == ["i-1"]


def test_a_machine_that_is_shut_down_says_so() -> None:
    with site() as standing:
        guest = standing.boot("i-1")
        standing.wait(lambda: "i-1" in standing.phases())
        standing.hypervisor.shut_down("i-1")
        assert ends(guest)
        last = standing.desk.latest()["i-1"]
        assert (last["phase"], last["notice"]["kind"]) == ("leaving", "shutdown")
