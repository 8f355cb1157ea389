"""Context: all that a use case may reach, handed over as one value."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from controlplane.operations.ids import Ids
from controlplane.operations.pacing import Inline, Pace
from controlplane.secrets.sealer import Sealer
from controlplane.settings import Settings
from controlplane.storage.base import Blobs, ObjectStore, Place
from controlplane.store import Store


class OpensStores(Protocol):
    def __call__(self, kind: str, place: Place, folder: Path) -> ObjectStore:
        """`folder` is for files alone. Raises `Invalid` when no such plugin is installed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """Built once per process, shared by threads."""

    store: Store
    objects: Blobs
    ids: Ids
    sealer: Sealer
    settings: Settings
    adapters: frozenset[str] = frozenset({"local", "ray"})
    """Names of the capacity plugins that are installed."""

    object_stores: OpensStores | None = None
    """Opens the buckets that are registered; None: this process never does."""

    pace: Pace = Inline()  # noqa: RUF009 - holds nothing
    """How writes of many rows follow each other."""

    @property
    def server_key(self) -> bytes:
        """Signs attempt tokens and cursors."""
        return self.sealer.server_key
