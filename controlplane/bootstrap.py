"""The composition root: builds the parts from settings and plugs the installed plugins in."""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import cast

from cloud_adapters.base import Lends
from controlplane.domain.errors import Invalid
from controlplane.executors.base import Executor
from controlplane.operations.context import Context
from controlplane.operations.ids import RandomIds
from controlplane.operations.pacing import AtOnce, Inline
from controlplane.secrets import keyfile
from controlplane.secrets.sealer import Sealer
from controlplane.settings import Settings
from controlplane.storage.base import Blobs, ObjectStore, Place
from controlplane.storage.uris import Kind
from controlplane.store import Store
from controlplane.store.store import SQLITE_PREFIX
from schedulers.base import Policy

EXECUTOR = "ray"
MOST_STORES = 64

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plugins:
    """One of each installed plugin that this process needs."""

    adapters: Mapping[str, Lends]
    executor: Executor
    policy: Policy


def context(settings: Settings) -> Context:
    """Opens what every process of the server needs. Raises `Invalid` when `crossdock server init` was not run."""
    sealer = Sealer(keyfile.read(settings.home))
    objects = cast("Blobs", _load("storage", "file")(settings.home / "objects"))
    return Context(
        store=Store.open(settings.database_url),
        objects=objects,
        ids=RandomIds(),
        sealer=sealer,
        settings=settings,
        adapters=frozenset(installed("cloud_adapters")),
        # A client takes long to build and keeps connections: one for each place.
        object_stores=lru_cache(maxsize=MOST_STORES)(open_store),
        pace=Inline() if settings.database_url.startswith(SQLITE_PREFIX) else AtOnce(),
    )


def open_store(kind: str, place: Place, folder: Path) -> ObjectStore:
    """Files need a folder, every other kind of store a place."""
    plugin = _load("storage", kind)
    return cast("ObjectStore", plugin(folder) if kind == Kind.FILE else plugin(place))


def plugins(settings: Settings) -> Plugins:
    """Loads every capacity plugin; each imports its own cloud package only when it is first used."""
    return Plugins(
        adapters=adapters(),
        executor=cast("Executor", _load("executors", EXECUTOR)()),
        policy=cast("Policy", _load("schedulers", settings.policy)()),
    )


def adapters() -> Mapping[str, Lends]:
    """A broken plugin takes its own clusters down with it, and nothing else."""
    return dict(_adapters())


def _adapters() -> Iterator[tuple[str, Lends]]:
    for name in installed("cloud_adapters"):
        try:
            yield name, cast("Lends", _load("cloud_adapters", name)())
        except ImportError:
            log.exception("plugin.broken", extra={"plugin": name})


def installed(group: str) -> tuple[str, ...]:
    """Names of the plugins of one kind, third parties' included."""
    return tuple(sorted({entry.name for entry in entry_points(group=f"crossdock.{group}")}))


def _load(group: str, name: str) -> type:
    for entry in entry_points(group=f"crossdock.{group}", name=name):
        return cast("type", entry.load())
    raise Invalid(
        f"no plugin {name!r} of kind {group} is installed", field=group, value=name, limit=installed(group)
    )
