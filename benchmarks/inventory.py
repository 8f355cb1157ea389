"""A large Kubernetes cluster followed: the first look, every later one, changes, and memory.

Replayed from a recording of 5,000 nodes and 50,000 pods; and live, with 5,000 pods on a real API server, where
`KUBEBUILDER_ASSETS` names one. Beside them: the same bytes fetched and parsed, and nothing else done.
"""

import gc
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Final

import httpx

from benchmarks.figures import Figure, Reference, at_least, at_least_times, at_most, at_most_times, main
from benchmarks.recorded_kube import ODD_MILLI, Recording, served
from cloud_adapters.base import ClusterRef, Machine, Transient
from cloud_adapters.kubernetes.adapter import KubernetesAdapter
from cloud_adapters.kubernetes.kubeconfig import Permissions
from tests.kube.control_plane import ControlPlane, missing_programs
from tests.kube.rest import Rest

RECORDED: Final = Recording(nodes=5000, pods=50_000, changes=20_000)
LIVE_PODS: Final = 5000
LOOKS: Final = 20
MEBIBYTE: Final = 2**20
LOOK_SECONDS: Final = 10.0
MOST_SECONDS: Final = 300.0


def measure() -> Sequence[Figure]:
    why = missing_programs()
    if why is not None:
        print(f"nothing is measured live: {why}", file=sys.stderr)
    return [*_replayed(), *(_live() if why is None else ())]


def _replayed() -> Iterator[Figure]:
    with served(RECORDED) as url:
        bare_seconds, bare_mebibytes = _bare(url)
        gc.collect()
        before = _memory_mebibytes()
        with _adapter() as adapter:
            cluster = ClusterRef(id="c", name="c", endpoint=None, secret=_kubeconfig(url))
            seconds = _seconds(lambda: _first_look(adapter, cluster))
            reference = Reference(name="fetch and parse", value=bare_seconds)
            name = f"first look at {RECORDED.nodes} nodes, {RECORDED.pods} pods"
            yield Figure(
                name=name,
                value=seconds,
                unit="s",
                reference=reference,
                aims=(at_most(30.0), at_most_times(2.5)),
            )
            gc.collect()
            kept = Reference(name="one page of pods, parsed", value=bare_mebibytes)
            grown = _memory_mebibytes() - before
            yield Figure(
                name="memory that the books add",
                value=grown,
                unit="MiB",
                reference=kept,
                aims=(at_most(200.0),),
            )
            look = median(_seconds(lambda: _looked(adapter, cluster)) for _ in range(LOOKS))
            ask = median(_seconds(lambda: _asked(url)) for _ in range(LOOKS))
            reference = Reference(name="one bare GET", value=1000 * ask)
            yield Figure(
                name="a later look",
                value=1000 * look,
                unit="ms",
                reference=reference,
                aims=(at_most(50.0), at_most_times(2.0)),
            )
            yield _followed(url, adapter, cluster)


def _followed(url: str, adapter: KubernetesAdapter, cluster: ClusterRef) -> Figure:
    """From the first change on the wire until a look shows the last one."""
    line = json.dumps({"type": "MODIFIED", "object": _one_pod(url)})
    parsing = _seconds(lambda: [json.loads(line) for _ in range(RECORDED.changes)])

    def until_last() -> None:
        _asked(url, "/go")
        while _looked(adapter, cluster)[0].used.cpu_milli % 100 != ODD_MILLI:
            time.sleep(0.02)  # poll

    seconds = _seconds(until_last)
    reference = Reference(name="json.loads alone", value=RECORDED.changes / parsing)
    rate = RECORDED.changes / seconds
    return Figure(
        name="changes followed",
        value=rate,
        unit="1/s",
        reference=reference,
        aims=(at_least(2000.0), at_least_times(0.25)),
    )


def _live() -> Iterator[Figure]:
    with (
        tempfile.TemporaryDirectory() as folder,
        ControlPlane(Path(folder)) as plane,
        Rest(plane.url, plane.ca_pem, plane.token) as rest,
        _adapter() as adapter,
    ):
        rest.create("nodes", {"metadata": {"name": "big"}})
        with ThreadPoolExecutor(8) as threads:
            list(threads.map(lambda number: _make_pod(rest, number), range(LIVE_PODS)))
        bare = _seconds(lambda: rest.list("pods"))
        cluster = ClusterRef(id="c", name="c", endpoint=None, secret=plane.kubeconfig())
        seconds = _seconds(lambda: _first_look(adapter, cluster))
        reference = Reference(name="one unpaged list", value=bare)
        yield Figure(
            name=f"live: first look at {LIVE_PODS} pods",
            value=seconds,
            unit="s",
            reference=reference,
            aims=(at_most(10.0),),
        )
        look = median(_seconds(lambda: _looked(adapter, cluster)) for _ in range(LOOKS))
        reference = Reference(name="the same list", value=1000 * bare)
        yield Figure(
            name="live: a later look",
            value=1000 * look,
            unit="ms",
            reference=reference,
            aims=(at_most(50.0),),
        )


def _make_pod(rest: Rest, number: int) -> None:
    container = {"name": "c", "image": "i", "resources": {"requests": {"cpu": "1m"}}}
    spec = {"nodeName": "big", "containers": [container]}
    rest.create("pods", {"metadata": {"name": f"p{number}"}, "spec": spec}, "default")


@contextmanager
def _adapter() -> Iterator[KubernetesAdapter]:
    adapter = KubernetesAdapter(Permissions(local_addresses=True))
    yield adapter
    adapter.close()


def _first_look(adapter: KubernetesAdapter, cluster: ClusterRef) -> None:
    """As the cluster loop does: again and again, until it is there."""
    until = time.monotonic() + MOST_SECONDS
    while True:
        try:
            _looked(adapter, cluster)
        except Transient:
            if time.monotonic() > until:
                raise
        else:
            return


def _looked(adapter: KubernetesAdapter, cluster: ClusterRef) -> tuple[Machine, ...]:
    return adapter.inventory(cluster, deadline=LOOK_SECONDS).machines


def _bare(url: str) -> tuple[float, float]:
    """Seconds for all pages; MiB that one parsed page of pods takes."""
    began = time.perf_counter()
    with httpx.Client(base_url=url, trust_env=False) as client:
        for path in ("/api/v1/nodes", "/api/v1/pods"):
            place = "0"
            while place:
                page = json.loads(client.get(path, params={"continue": place}).content)
                place = page["metadata"]["continue"]
        seconds = time.perf_counter() - began
        text = client.get("/api/v1/pods").content
    gc.collect()
    before = _memory_mebibytes()
    kept = [json.loads(text) for _ in range(4)]
    grown = (_memory_mebibytes() - before) / len(kept)
    return seconds, max(grown, 0.1)


def _one_pod(url: str) -> object:
    return httpx.get(f"{url}/api/v1/pods", trust_env=False).json()["items"][0]


def _asked(url: str, path: str = "/") -> None:
    httpx.get(f"{url}{path}", trust_env=False).raise_for_status()


def _kubeconfig(url: str) -> str:
    return json.dumps(
        {
            "current-context": "c",
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "c"}}],
            "clusters": [{"name": "c", "cluster": {"server": url}}],
            "users": [{"name": "c", "user": {"token": "t"}}],
        }
    )


def _seconds(act: Callable[[], object]) -> float:
    began = time.perf_counter()
    act()
    return time.perf_counter() - began


def _memory_mebibytes() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / MEBIBYTE


if __name__ == "__main__":
    sys.exit(main("A large Kubernetes cluster, followed.", measure))
