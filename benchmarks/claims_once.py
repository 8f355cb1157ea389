"""Runs the loops over a thousand claims in a process of its own, and prints what that took as JSON."""

import json
import resource
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Final

from cloud_adapters.fake_cloud import FakeCloud
from controlplane.domain.claims import CapacityType, ClaimState
from controlplane.domain.clusters import Cluster, ClusterState
from controlplane.domain.ids import ClusterId, TokenId
from controlplane.executors.fake import FakeExecutor
from controlplane.identity.principals import Principal, Role
from controlplane.operations import claims
from controlplane.operations.context import Context
from controlplane.operations.ids import RandomIds
from controlplane.runtime.interpreter import set_the_pace
from controlplane.runtime.process import Loops
from controlplane.secrets.sealer import Sealer
from controlplane.settings import Settings
from controlplane.storage.file import FileStore
from controlplane.store import Store, Tx
from schedulers.priority import Priority

CLOUDS: Final = 4
PATIENCE_SECONDS: Final = 300.0
LOOK_SECONDS: Final = 0.25
KIBIBYTE: Final = 1024
ADMIN: Final = Principal(token_id=TokenId("token"), name="admin", role=Role.ADMIN, project_id=None)


def measured(home: Path, count: int) -> dict[str, float]:
    """Asks for so many claims at once, waits until all are ready, gives all back, and waits until all are gone."""
    context = _context(home)
    clouds = {f"cloud-{number}": _cloud() for number in range(CLOUDS)}
    set_the_pace()
    loops = Loops(context, adapters=clouds, executor=FakeExecutor(), policy=Priority(), holder="bench")
    for name in clouds:
        context.store.write(partial(_register, name=name))
    loops.start()
    _until(lambda: _clusters_ready(context.store))
    idle, began, worked = _peak_bytes(), time.perf_counter(), time.process_time()
    for number in range(count):
        claims.request(context, ADMIN, _wanted(f"cloud-{number % CLOUDS}"))
    asked = time.perf_counter()
    _until(lambda: _in_state(context.store, ClaimState.READY) == count)
    ready = time.perf_counter()
    for claim_id in _ids(context.store):
        claims.release(context, ADMIN, claim_id)
    _until(lambda: _in_state(context.store, ClaimState.GONE) == count)
    gone, busy = time.perf_counter(), time.process_time() - worked
    changes = _changes(context.store)
    loops.stop(timeout_seconds=10)
    left = sum(len(cloud.machines) for cloud in clouds.values())
    context.store.close()
    if left:
        raise RuntimeError(f"{left} machines are left")
    return {
        "idle_bytes": idle,
        "peak_bytes": _peak_bytes(),
        "asked_seconds": asked - began,
        "ready_seconds": ready - began,
        "gone_seconds": gone - ready,
        "processor_seconds": busy,
        "changes": changes,
    }


def _context(home: Path) -> Context:
    url = f"sqlite:///{home / 'claims.db'}"
    store = Store.open(url)
    settings = Settings(home=home, database_url=url, cloud_calls_per_second=10_000.0, poll_seconds=1.0)
    store.migrate()
    return Context(
        store=store,
        objects=FileStore(home / "objects"),
        ids=RandomIds(),
        sealer=Sealer(b"m" * 32),
        settings=settings,
    )


def _cloud() -> FakeCloud:
    """As quick as clouds are, but for the lag of its lists: nobody wants to wait that out."""
    cloud = FakeCloud(lambda: datetime.now(UTC))
    cloud.list_lag = timedelta(seconds=2)
    return cloud


def _register(tx: Tx, name: str) -> None:
    tx.clusters.add(
        Cluster(
            id=ClusterId(f"cluster_{name}"),
            name=name,
            adapter=name,
            state=ClusterState.PENDING,
            since=tx.now,
            created_at=tx.now,
        )
    )
    tx.work.poke("cluster", f"cluster_{name}")


def _wanted(cluster: str) -> claims.ClaimRequest:
    return claims.ClaimRequest(
        cluster=cluster,
        machine_type="small",
        capacity_type=CapacityType.SPOT,
        zones=("a", "b"),
        machines_min=1,
        machines_want=1,
    )


def _clusters_ready(store: Store) -> bool:
    with store.read() as tx:
        return all(cluster.state is ClusterState.READY for cluster in tx.clusters.list())


def _ids(store: Store) -> list[str]:
    with store.read() as tx:
        return [claim.id for claim in tx.claims.live()]


def _in_state(store: Store, state: ClaimState) -> int:
    with store.read() as tx:
        return sum(claim.state is state for claim in tx.claims.list(None, sys.maxsize))


def _changes(store: Store) -> int:
    """Each turn that changed a claim made it one version newer."""
    with store.read() as tx:
        return sum(claim.version for claim in tx.claims.list(None, sys.maxsize))


def _until(is_so: Callable[[], bool]) -> None:
    until = time.monotonic() + PATIENCE_SECONDS
    while not is_so():
        if time.monotonic() > until:
            raise TimeoutError(f"it took longer than {PATIENCE_SECONDS:g} s")
        time.sleep(LOOK_SECONDS)


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * KIBIBYTE


if __name__ == "__main__":
    print(json.dumps(measured(Path(sys.argv[1]), int(sys.argv[2]))))
