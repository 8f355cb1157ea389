"""What holds for every test: no network, and a run that says what it left out."""

import gc
import ipaddress
import socket
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import hypothesis
import pytest

from tests import parts
from tests.hypervisor.namespaces import SEGMENTS

# Two shared cores make single examples slow now and then; a failing example prints how to repeat it.
hypothesis.settings.register_profile("test", deadline=None, print_blob=True, max_examples=40)
hypothesis.settings.register_profile("verify", deadline=None, print_blob=True, max_examples=100)

pytest_plugins = ("tests.databases", "tests.ray_cluster", "tests.termination", "tests.kube.fixtures")

SOCKET_FREE: Final = frozenset({"property", "sim", "unit"})
WITH_MACHINES: Final = frozenset({"e2e", "hypervisor"})
MACHINES_SECONDS: Final = 480
"""For a test that starts machines and says no other: a busy machine takes several times as long."""

Address = tuple[object, ...] | str | bytes
"""What a socket dials: a host and a port, or a path."""

DESELECTED: Final = pytest.StashKey[Counter[str]]()


def pytest_configure(config: pytest.Config) -> None:
    if unknown := parts.unknown_parts():
        message = (
            f"{parts.VARIABLE} names {', '.join(sorted(unknown))}; known are {', '.join(sorted(parts.PARTS))}"
        )
        raise pytest.UsageError(message)
    if not config.getoption("hypothesis_profile"):
        # Laws that name no number of examples see more of them where there is time.
        hypothesis.settings.load_profile("test" if "not verify" in config.option.markexpr else "verify")
    config.stash[DESELECTED] = Counter()


def pytest_deselected(items: list[pytest.Item]) -> None:
    for item in items:
        tiers = [name for name in ("verify", "soak") if item.get_closest_marker(name)]
        item.config.stash[DESELECTED][tiers[0] if tiers else "not selected"] += 1


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """What is imported lives as long as the run: looking there for rubbish is a seventh of collection."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.hookimpl(tryfirst=True)  # before xdist, which reads the groups in the same hook
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Of several processes (`pytest -n`), one alone runs what starts machines: Ray clusters, servers, namespaces.

    One, too, runs what shares the control plane of Kubernetes: a second one would start another.
    """
    for item in items:
        folder = item.path.relative_to(Path(__file__).parent).parts[0]
        fixtures = getattr(item, "fixturenames", ())
        if folder in WITH_MACHINES or "ray_cluster" in fixtures:
            item.add_marker(pytest.mark.xdist_group("machines"))
            if item.get_closest_marker("timeout") is None:
                item.add_marker(pytest.mark.timeout(MACHINES_SECONDS))
        elif folder == "kube" or "kube_server" in fixtures:
            item.add_marker(pytest.mark.xdist_group("kube"))


def pytest_sessionfinish(session: pytest.Session) -> None:
    """One of several processes tells the first what it left out; they all left out the same."""
    if (output := getattr(session.config, "workeroutput", None)) is not None:
        counted: Counter[str] = session.config.stash[DESELECTED]
        output["deselected"] = dict(counted)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:  # noqa: ANN401 # xdist ships no types
    node.config.stash[DESELECTED] = Counter(getattr(node, "workeroutput", {}).get("deselected", {}))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """The last lines of every run: what did not run, and why."""
    lines = [f"{count} x {why}" for why, count in sorted(_reasons(terminalreporter, config).items())]
    terminalreporter.section("what did not run, and why")
    for line in lines or ["nothing: every test ran"]:
        terminalreporter.write_line(line)


def _reasons(reporter: pytest.TerminalReporter, config: pytest.Config) -> Counter[str]:
    reasons = Counter({f"deselected: {why}": count for why, count in config.stash[DESELECTED].items()})
    for report in reporter.stats.get("skipped", ()):
        # A skip's representation is (path, line, "Skipped: reason").
        where = report.longrepr
        reasons[str(where[2] if isinstance(where, tuple) else where).removeprefix("Skipped: ")] += 1
    for report in reporter.stats.get("xfailed", ()):
        reasons[f"expected to fail: {report.wasxfail}"] += 1
    return reasons


@pytest.fixture(autouse=True)
def _sockets(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unit, property and simulation tests open no connection; the others stay on this machine."""
    folder = request.path.relative_to(Path(__file__).parent).parts[0]
    allowed = folder not in SOCKET_FREE or request.node.get_closest_marker("sockets") is not None
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: Address) -> None:
        if not allowed or not _is_local(self.family, address):
            message = f"this test may not connect to {address!r}; see `sockets` in pyproject.toml"
            raise RuntimeError(message)
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)


def _is_local(family: int, address: Address) -> bool:
    if family not in {socket.AF_INET, socket.AF_INET6}:
        return True
    host = str(address[0])
    if host == "localhost":
        return True
    ip = ipaddress.ip_address(host.partition("%")[0])
    return ip.is_loopback or ip in SEGMENTS  # the hypervisor's networks have no way out of this machine
