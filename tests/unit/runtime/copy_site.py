"""One replica of the copy loop between two stores, of which one goes wrong at a call that a test chooses."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import pytest

from controlplane.domain.data_copies import Copy
from controlplane.operations import copies, object_stores
from controlplane.operations.copies import CopyView
from controlplane.runtime.bell import Bell
from controlplane.runtime.copies import CopyStep
from controlplane.runtime.reconcile import Noun, ReconcileLoop
from controlplane.storage.base import ObjectStore, Place
from controlplane.storage.fake import FakeStore
from controlplane.wire.data import CopyCreate, StoreCreate
from tests.inline_pool import InlinePool
from tests.unit.operations.world import World, world

PART: Final = 1000
LONGEST: Final = 100
Fields = Any
"""Of a request, by name."""


class Crash(BaseException):
    """The replica dies here."""


@dataclass(slots=True)
class Perilous:
    """A store whose call number `wrong_call` goes wrong, before the deed or after it."""

    inner: FakeStore
    wrong_call: int | None = None
    goes_wrong: Callable[[str], BaseException] = field(default=lambda _: Crash())
    is_before: bool = True
    calls: list[str] = field(default_factory=list)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the store has
        found = getattr(self.inner, name)
        if not callable(found) or name == "now":
            return found

        def call(*args: Fields, **fields: Fields) -> object:
            self.calls.append(name)
            is_wrong = len(self.calls) - 1 == self.wrong_call
            if is_wrong and self.is_before:
                raise self.goes_wrong(name)
            answer = found(*args, **fields)
            if is_wrong:
                raise self.goes_wrong(name)
            return answer

        return call


@dataclass(slots=True)
class Instead:
    """A store some of whose calls are others."""

    inner: Any
    changed: dict[str, Any]

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the store has
        return self.changed.get(name) or getattr(self.inner, name)


@dataclass(slots=True)
class Site:
    plane: World
    source: FakeStore
    target: Perilous
    replicas: int = 0
    loop: Any = None

    def restart(self) -> None:
        self.replicas += 1
        self.loop = ReconcileLoop(
            Noun(name="copy", step=CopyStep(self.plane.context), threads=1),
            store=self.plane.store,
            bell=Bell(self.plane.store.change_marker),
            holder=f"replica-{self.replicas}",
        )

    def request(self, source: str, target: str, **fields: Fields) -> Copy:
        wanted = CopyCreate(project="default", source=source, target=target, **fields)
        return copies.request(self.plane.context, self.plane.root, wanted).copy

    def view(self, copy: Copy) -> CopyView:
        return copies.get(self.plane.context, self.plane.root, copy.id)

    def run(self, copy: Copy) -> Copy:
        """Until it is over; a replica that dies is followed by another, once its claim has run out."""
        for _ in range(LONGEST):
            try:
                self.loop.drain(InlinePool())
            except Crash:
                self.restart()
            found = self.view(copy).copy
            if found.is_over:
                return found
            self.plane.clock.pass_seconds(130)
        raise AssertionError(self.view(copy))


@pytest.fixture
def site(tmp_path: Path, database_url: str) -> Iterator[Site]:
    with world(tmp_path, database_url, copy_part_bytes=PART) as plane:
        source, target = FakeStore(), Perilous(inner=FakeStore(now=plane.clock))
        stores: dict[str, ObjectStore] = {"from": source, "into": target}

        def opens(kind: str, place: Place, folder: Path) -> ObjectStore:
            del kind, folder
            return stores[place.bucket]

        plane.context = replace(plane.context, object_stores=opens)
        for bucket in ("from", "into"):
            object_stores.add(plane.context, plane.root, StoreCreate(name=bucket, uri=f"s3://{bucket}"))
        site = Site(plane=plane, source=source, target=target)
        site.restart()
        yield site


def open_uploads(site: Site) -> list[str]:
    return [upload.key for upload in site.target.inner.list_uploads("")]
