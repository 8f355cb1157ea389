"""The embedded cluster: a real Ray on loopback, started and owned by us, for one machine and one trust domain.

Ray listens on every address of the machine, behind its token; its metrics have none. Put a firewall in front of a
machine that others can reach.
"""

import os
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

from cloud_adapters.base import ClusterRef, Endpoint, Inventory, PluginError, Transient
from cloud_adapters.local import keeper
from cloud_adapters.local.commands import GPU_RESOURCE
from cloud_adapters.local.place import Life, Place
from cloud_adapters.local.settings import directory_of, shape_of
from cloud_adapters.local.shape import Shape
from cloud_adapters.ray_state import RayState

PAUSE_SECONDS: Final = 0.1
PACKAGES: Final = Path(__file__).parents[2]
"""Where `cloud_adapters` lies: the keeper finds it as its working directory, which no child inherits."""


class LocalAdapter:
    """Unlike its sisters it waits: for processes of its own machine, up to the deadline."""

    def __init__(self) -> None:
        self._state = RayState()

    def inventory(self, cluster: ClusterRef, *, deadline: float) -> Inventory:
        if cluster.endpoint is None:
            raise Transient(f"cluster {cluster.name} was not booted yet")
        return self._state.inventory(cluster.endpoint, deadline=deadline)

    def boot(self, cluster: ClusterRef, *, deadline: float) -> Endpoint:
        until = time.monotonic() + deadline
        place, shape = _place(cluster), shape_of(cluster)
        place.call()
        life = place.life()
        if endpoint := _endpoint(place, life):
            return endpoint
        starting: str | None = None
        while time.monotonic() < until:
            place.call()
            life = place.life()
            if life is not None and life.is_kept:
                starting = life.tag
                endpoint = _endpoint(place, life)
                if endpoint and self._answers(endpoint, shape, until):
                    return endpoint
            elif life is not None and life.tag == starting:
                why = life.ended or "its keeper was killed"
                raise Transient(f"cluster {cluster.name} ended while it started: {why}")
            else:
                _start_keeper(place, shape)
            time.sleep(PAUSE_SECONDS)
        raise Transient(f"cluster {cluster.name} is still starting after {deadline:g} s")

    def shut_down(self, cluster: ClusterRef, *, deadline: float) -> None:
        directory = directory_of(cluster)
        if not directory.exists():
            return
        until = time.monotonic() + deadline
        place = Place(directory=directory)
        while (lock := place.lock()) is None:
            life = place.life()
            if life is not None and life.is_kept:
                with suppress(ProcessLookupError):
                    os.kill(life.keeper_pid, signal.SIGTERM)
            if time.monotonic() > until:
                raise Transient(f"cluster {cluster.name} has not ended after {deadline:g} s")
            time.sleep(PAUSE_SECONDS)
        try:
            life = place.life()
            if life is not None and not keeper.sweep(life.tag, Path(life.folder)):
                raise Transient(f"cluster {cluster.name} left processes or files that do not go away")
            place.forget()
        finally:
            os.close(lock)

    def _answers(self, endpoint: Endpoint, shape: Shape, until: float) -> bool:
        """Its nodes are there, and the dashboard says so."""
        try:
            seen = self._state.inventory(endpoint, deadline=until - time.monotonic())
        except PluginError:
            return False
        return len(seen.machines) >= shape.nodes


def _place(cluster: ClusterRef) -> Place:
    directory = directory_of(cluster)
    try:
        return Place.make(directory)
    except OSError as problem:
        raise Transient(f"cluster {cluster.name} cannot use {directory}: {problem}") from problem


def _endpoint(place: Place, life: Life | None) -> Endpoint | None:
    token = place.token()
    if life is None or not life.is_kept or not life.is_up or token is None:
        return None
    return Endpoint(url=life.url, token=token, gpu_resource=GPU_RESOURCE)


def _start_keeper(place: Place, shape: Shape) -> None:
    """Returns when a keeper has written who it is, or could not become one because there is one already."""
    with place.log_file.open("ab") as log:
        subprocess.run(
            keeper.arguments(place, shape),
            check=False,
            cwd=PACKAGES,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
