"""What the way in adds to an inference: the embedded gateway and HAProxy, beside the replica asked directly.

With one client the three take turns request by request, with 16 clients burst by burst.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from statistics import median
from typing import Final

from benchmarks.figures import Figure, Reference, at_least_times, at_most, main
from benchmarks.http_clients import HttpClient, Target, rate_of_burst, request_bytes
from benchmarks.serving_gateway import TOKEN
from tests.server import eventually, free_port

CLIENTS: Final = 16
WARM_UP: Final = 50
TURNS: Final = 400
ROUNDS: Final = 5
BURST_SECONDS: Final = 1.5
START_SECONDS: Final = 60.0
PATH: Final = "/v2/models/digits/infer"
TENSOR: Final = {"name": "x", "datatype": "FP64", "shape": [1, 64], "data": [each / 64 for each in range(64)]}
BODY: Final = json.dumps({"inputs": [TENSOR]}).encode()
DIRECT: Final = "direct"


def measure() -> list[Figure]:
    with targets() as found:
        latencies = one_client(found)
        rates = [
            {
                name: rate_of_burst(target, clients=CLIENTS, seconds=BURST_SECONDS)
                for name, target in found.items()
            }
            for _ in range(ROUNDS)
        ]
    return [*latency_figures(latencies), *rate_figures(rates)]


@contextmanager
def targets() -> Iterator[Mapping[str, Target]]:
    replica, embedded, haproxy = (free_port() for _ in range(3))
    with ExitStack() as stack:
        log = stack.enter_context(tempfile.TemporaryFile())
        for module, *ports in (("serving_replica", replica), ("serving_gateway", replica, embedded, haproxy)):
            words = [sys.executable, "-m", f"benchmarks.{module}", *map(str, ports)]
            process = stack.enter_context(subprocess.Popen(words, stdout=log, stderr=log))
            stack.callback(process.terminate)
        found = {
            DIRECT: target(replica, PATH),
            "HAProxy": target(haproxy, f"/vision/digits{PATH}"),
            "embedded": target(embedded, f"/vision/digits{PATH}"),
        }
        for name, each in found.items():
            eventually(lambda each=each: answers(each), START_SECONDS, f"{name} did not answer")  # type: ignore[misc]
        yield found


def target(port: int, path: str) -> Target:
    request = request_bytes(
        "POST", path, BODY, Authorization=f"Bearer {TOKEN}", Content_Type="application/json"
    )
    return Target(host="127.0.0.1", port=port, make_request=lambda: request)


def answers(found: Target) -> bool:
    try:
        client = HttpClient.connect(found)
    except OSError:
        return False
    try:
        client.exchange(found.make_request())
    except (OSError, ValueError):
        return False
    finally:
        client.connection.close()
    return True


def one_client(found: Mapping[str, Target]) -> Mapping[str, list[float]]:
    """Milliseconds."""
    clients = {name: HttpClient.connect(each) for name, each in found.items()}
    took: dict[str, list[float]] = {name: [] for name in found}
    try:
        for turn in range(WARM_UP + TURNS):
            for name, client in clients.items():
                seconds = client.exchange(found[name].make_request())
                if turn >= WARM_UP:
                    took[name].append(1000 * seconds)
    finally:
        for client in clients.values():
            client.connection.close()
    return took


def latency_figures(took: Mapping[str, list[float]]) -> Iterator[Figure]:
    direct = median(took[DIRECT])
    for name in ("HAProxy", "embedded"):
        yield Figure(
            name=f"{name}, 1 client, added to p50",
            value=median(took[name]) - direct,
            unit="ms",
            reference=Reference(name="replica p50", value=direct),
            aims=(at_most(2),) if name == "HAProxy" else (),
        )


def rate_figures(rates: Sequence[Mapping[str, float]]) -> Iterator[Figure]:
    direct = median(each[DIRECT] for each in rates)
    for name in ("HAProxy", "embedded"):
        yield Figure(
            name=f"{name}, {CLIENTS} clients",
            value=median(each[name] for each in rates),
            unit="1/s",
            reference=Reference(name="replica, directly", value=direct),
            aims=(at_least_times(0.8),) if name == "HAProxy" else (),
        )


if __name__ == "__main__":
    sys.exit(main("What the way in adds to an inference, beside the replica alone.", measure))
