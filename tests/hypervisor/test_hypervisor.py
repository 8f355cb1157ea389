"""The hypervisor itself: what runs in a cell is apart, is reached, and goes at once."""

import http.client
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.hypervisor import namespaces
from tests.hypervisor.hypervisor import HIDDEN, Guest, Hypervisor
from tests.hypervisor.relays import Cloud, Metadata
from tests.parts import require_part

END_SECONDS = 30.0


@pytest.fixture
def hypervisor() -> Iterator[Hypervisor]:
    require_part("namespaces", namespaces.is_available(), "needs root and Linux namespaces")
    with Hypervisor(minute_seconds=0.5) as made:
        yield made


def boot(hypervisor: Hypervisor, name: str, script: str) -> Guest:
    address = hypervisor.next_address()
    return hypervisor.boot(
        name,
        user_data=f"#!/bin/sh\n{script}\n",
        metadata=Metadata.of(Cloud.AWS, "i-1", address),
        address=address,
    )


class Greeting(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"hello from outside")

    def log_message(self, *_arguments: object) -> None:
        pass


@pytest.fixture
def site() -> Iterator[tuple[Hypervisor, int]]:
    require_part("namespaces", namespaces.is_available(), "needs root and Linux namespaces")
    with ThreadingHTTPServer(("127.0.0.1", 0), Greeting) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        with Hypervisor(reach=(server.server_address[1],)) as made:
            yield made, server.server_address[1]
        server.shutdown()


def test_a_pod_ends_with_its_commands_code_and_sees_only_itself(hypervisor: Hypervisor) -> None:
    pod = hypervisor.spawn("pod", ["sh", "-c", "hostname; ls /proc | grep -c '^[0-9]'; ls /tmp; exit 7"], {})
    code = pod.cell.wait(END_SECONDS)
    checkout = [Path(path).parts[2] for path in HIDDEN]
    # The first process, the shell, ls and grep.
    assert (code, pod.console.split()) == (7, ["pod", "4", *checkout])


def test_what_a_guest_writes_stays_in_it(hypervisor: Hypervisor) -> None:
    pod = hypervisor.spawn("pod", ["sh", "-c", "echo x > /etc/crossdock-was-here; rm -r /usr/bin/perl"], {})
    assert pod.cell.wait(END_SECONDS) == 0
    assert not Path("/etc/crossdock-was-here").exists()
    assert Path("/usr/bin/perl").exists()


def test_guests_meet_on_their_private_network(hypervisor: Hypervisor) -> None:
    serve = ["python3", "-m", "http.server", "8080", "--directory", "/etc/apt"]
    server = hypervisor.spawn("server", serve, {})
    ask = f"for _ in $(seq 100); do curl -sf http://{server.address}:8080/ && exit; sleep 0.1; done; exit 9"
    client = hypervisor.spawn("client", ["sh", "-c", ask], {})
    assert client.cell.wait(END_SECONDS) == 0
    assert "sources.list" in client.console


def test_a_guest_reaches_the_loopback_port_it_may_reach_and_no_other(site: tuple[Hypervisor, int]) -> None:
    hypervisor, port = site
    ask = f"curl -s http://127.0.0.1:{port}/ || echo refused"
    inside = hypervisor.spawn("inside", ["sh", "-c", ask], {})
    with ThreadingHTTPServer(("127.0.0.1", 0), Greeting) as other:
        ask = f"curl -s http://127.0.0.1:{other.server_address[1]}/ || echo refused"
        apart = hypervisor.spawn("apart", ["sh", "-c", ask], {})
        codes = [guest.cell.wait(END_SECONDS) for guest in (inside, apart)]
    assert (codes, inside.console, apart.console) == ([0, 0], "hello from outside", "refused\n")


def test_the_host_dials_a_guest(hypervisor: Hypervisor) -> None:
    guest = hypervisor.spawn("server", ["python3", "-m", "http.server", "8080"], {})
    for _ in range(100):
        line = http.client.HTTPConnection(guest.address, 8080, timeout=5)
        with suppress(ConnectionRefusedError), closing(line):
            line.request("GET", "/")
            assert line.getresponse().status == 200
            return
        time.sleep(0.1)  # poll
    pytest.fail(guest.console)


def test_the_metadata_service_wants_a_token_and_says_what_the_test_says(hypervisor: Hypervisor) -> None:
    ask = """
    say() { curl -s -o /dev/null -w '%{http_code} ' "$@"; }
    url=http://169.254.169.254/latest
    say $url/meta-data/instance-id
    token=$(curl -s -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' $url/api/token)
    curl -s -H "X-aws-ec2-metadata-token: $token" $url/meta-data/instance-id
    shutdown -h now
    """
    guest = boot(
        hypervisor, "machine", f"({ask}) > /dev/console-copy 2>&1; cat /dev/console-copy >> /proc/1/fd/1"
    )
    assert guest.cell.wait(END_SECONDS) == 0
    assert "401 i-1" in guest.console


UNIT = """
cat > /etc/systemd/system/one.service <<'UNIT'
[Service]
ExecStart=/bin/sh -c "echo started >> /proc/1/fd/1; {body}"
Restart=always
RestartSec=0.1
TimeoutStopSec=5
UNIT
systemctl daemon-reload
systemctl enable --now one.service
"""


def test_a_unit_that_ends_takes_its_children_along_and_starts_again(hypervisor: Hypervisor) -> None:
    body = "setsid sleep 1000 & sleep 0.2; pgrep -c sleep >> /proc/1/fd/1; test $(cat /count | wc -l) -lt 2"
    count = "touch /count\n"
    unit = UNIT.format(body=f"echo x >> /count; {body} || shutdown -h now; sleep 0.1")
    guest = boot(hypervisor, "machine", count + unit)
    assert guest.cell.wait(END_SECONDS) == 0
    told = [line for line in guest.console.splitlines() if not line.startswith("init:")]
    assert told == ["started", "1", "started", "1"]


def test_a_shutdown_in_minutes_ends_the_machine_and_a_unit_hears_of_it(hypervisor: Hypervisor) -> None:
    unit = UNIT.format(body="trap 'echo bye >> /proc/1/fd/1; exit' TERM; while :; do sleep 0.05; done")
    guest = boot(hypervisor, "machine", f"shutdown -h +2\n{unit}")
    assert guest.cell.wait(END_SECONDS) == 0
    assert guest.console.splitlines()[-3:] == ["started", "bye", "init: power off"]


def test_a_shutdown_that_is_put_off_does_not_happen(hypervisor: Hypervisor) -> None:
    later = (
        "shutdown -h +1; for _ in $(seq 15); do sleep 0.1; shutdown -h +1; done; echo alive >> /proc/1/fd/1"
    )
    guest = boot(hypervisor, "machine", later)
    assert guest.cell.wait(END_SECONDS) == 0
    assert "alive" in guest.console


def test_a_killed_guest_is_gone_at_once_with_all_that_it_started() -> None:
    require_part("namespaces", namespaces.is_available(), "needs root and Linux namespaces")
    ended = threading.Event()
    with Hypervisor(on_end=lambda _name: ended.set()) as hypervisor:
        guest = hypervisor.spawn(
            "pod", ["sh", "-c", "setsid sleep 1000 & setsid sleep 1000 & echo; wait"], {}
        )
        while not guest.console:
            time.sleep(0.01)  # poll
        assert len(guest.cell.pids()) == 4
        hypervisor.kill("pod")
        assert guest.cell.pids() == []
        assert hypervisor.addresses == {}
        assert ended.wait(END_SECONDS)


def test_tests_that_start_machines_are_known_as_one_group_to_who_shares_them_out(
    request: pytest.FixtureRequest,
) -> None:
    is_shared_out = getattr(request.config.option, "loadgroup", False)
    assert request.node.nodeid.endswith("@machines") or not is_shared_out


def test_nothing_is_left_when_whoever_made_the_guests_is_killed() -> None:
    require_part("namespaces", namespaces.is_available(), "needs root and Linux namespaces")
    script = (
        "import sys, os, signal\n"
        "from tests.hypervisor.hypervisor import Hypervisor\n"
        "hypervisor = Hypervisor()\n"
        "guest = hypervisor.spawn('pod', ['sleep', '1000'], {})\n"
        "print(guest.cell.pid, hypervisor._segment.bridge, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    pid, bridge = done.stdout.split()
    for _ in range(500):
        if not Path(f"/proc/{pid}").exists():
            break
        time.sleep(0.01)  # poll
    assert not Path(f"/proc/{pid}").exists()
    with ExitStack() as stack:  # all numbers up to the one that the killed run held, and what is left of it
        taken = ""
        while taken != bridge:
            taken = stack.enter_context(Hypervisor())._segment.bridge
