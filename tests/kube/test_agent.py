"""A Kubernetes cluster that nobody can dial: its agent carries each connection to the API server."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

import pytest

from cloud_adapters.base import Route, Transient
from cloud_adapters.kubernetes.adapter import KubernetesAdapter
from cloud_adapters.kubernetes.kubeconfig import Permissions
from controlplane.tunnels.agent import connector
from controlplane.tunnels.hub import Hub
from controlplane.tunnels.targets import Target
from controlplane.tunnels.tunnel import Tunnel
from tests.kube.ordering import cluster_of
from tests.kube.stages import Stage
from tests.unit.tunnels.wires import MemoryWire

SECONDS = 20.0
PASSWORD = "pass@word"


@dataclass(frozen=True, slots=True)
class Way:
    """To an agent that connects to the API server, and to nothing else."""

    port: int

    def route(self, password: str = "pass%40word") -> Route:
        return Route(proxy_url=f"http://c1:{password}@127.0.0.1:{self.port}")


@contextmanager
def agent_of(target: str) -> Iterator[Way]:
    hub, ways, ready = Hub(lambda _: PASSWORD), list[Way](), threading.Event()
    ends = list[Callable[[], object]]()

    async def run() -> None:
        near, far = MemoryWire(), MemoryWire()
        near.other, far.other = far, near
        loop, stop, door = asyncio.get_running_loop(), asyncio.Event(), await hub.listen(0)
        ways.append(Way(door.sockets[0].getsockname()[1]))
        ends.append(lambda: loop.call_soon_threadsafe(stop.set))
        agent = asyncio.ensure_future(Tunnel(far, accept=connector([Target.parsed(target)])).run())
        serving = asyncio.ensure_future(hub.serve("c1", near, lambda _: ready.set()))
        await stop.wait()
        door.close()
        near.cut()
        await asyncio.gather(agent, serving, return_exceptions=True)
        while streams := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.wait(streams)

    thread = threading.Thread(target=lambda: asyncio.run(run()))
    thread.start()
    try:
        assert ready.wait(SECONDS)
        yield ways[0]
    finally:
        for end in ends:
            end()
        thread.join()


@pytest.fixture
def adapter() -> Iterator[KubernetesAdapter]:
    """Which may not dial its own machine itself."""
    adapter = KubernetesAdapter(Permissions())
    yield adapter
    adapter.close()


def test_its_nodes_are_seen_and_watched_through_the_agent(kube: Stage, adapter: KubernetesAdapter) -> None:
    with agent_of(urlsplit(kube.server.url).netloc) as way:
        far = replace(cluster_of(kube), route=way.route())
        kube.until(lambda: len(adapter.inventory(far, deadline=SECONDS).machines) == 2)
        adapter.close()


def test_an_agent_that_may_not_connect_there_or_a_wrong_password_is_a_cluster_that_does_not_answer(
    kube: Stage, adapter: KubernetesAdapter
) -> None:
    with agent_of("127.0.0.1:9") as way:
        for route in (way.route(), way.route("guess")):
            with pytest.raises(Transient):
                adapter.inventory(replace(cluster_of(kube), route=route), deadline=SECONDS)
        adapter.close()
