"""Inputs: what jobs read, as stores near the work keep it, under an address that its content gives it."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Final, Self

from controlplane.domain.ids import CopyId, InputId, ProjectId
from controlplane.domain.lifecycles import Lifecycle, to


class InputState(StrEnum):
    LOOKING = "looking"
    """Nobody has looked yet at what is at the source now."""

    COPYING = "copying"
    READY = "ready"
    """All of it is near, whole, and what was looked at."""

    FAILED = "failed"
    LEAVING = "leaving"
    """Being deleted; nothing is kept under its address before that is done."""

    GONE = "gone"
    """Nothing of it is kept, or another row speaks for it."""


INPUT: Final = Lifecycle(
    noun="input",
    initial=InputState.LOOKING,
    edges={
        InputState.LOOKING: to(InputState.COPYING, InputState.FAILED, InputState.GONE),
        InputState.COPYING: to(InputState.READY, InputState.FAILED, InputState.LEAVING),
        InputState.READY: to(
            InputState.COPYING,  # somebody took a part of it away
            InputState.LEAVING,
        ),
        InputState.FAILED: to(InputState.LEAVING, InputState.GONE),
        InputState.LEAVING: to(InputState.GONE),
        InputState.GONE: to(),
    },
)

USABLE: Final = (InputState.LOOKING, InputState.COPYING, InputState.READY)
"""What an attempt may wait for, or read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """A source as it was at one moment, in one store near some clusters."""

    id: InputId
    project_id: ProjectId
    """Of the jobs that share it."""

    source: str
    """A URI; one that ends with `/` is a prefix, and all below it is the input."""

    store: str
    """Name of the store that keeps it."""

    state: InputState
    since: datetime
    created_at: datetime
    asked_at: datetime
    """It is at least as new as what was at the source then."""

    used_at: datetime
    """When an attempt wanted it last."""

    address: str | None = None
    """None: nobody has looked yet."""

    target: str | None = None
    """URI of what is kept, or will be."""

    size_bytes: int = 0
    copy_id: CopyId | None = None
    failures: int = 0
    """Tries in a row that ended early; each waits longer than the one before."""

    problem: str | None = None
    version: int = 1
    came_from: str = "-"

    def move(self, new: InputState, *, at: datetime) -> Self:
        INPUT.check(self.state, new)
        return replace(self, state=new, came_from=str(self.state), since=at, version=self.version + 1)

    def changed(self, **fields: object) -> Self:
        """The next version of it in the same state."""
        # `object`: the keywords are the fields' own.
        return replace(self, version=self.version + 1, **fields)  # type: ignore[arg-type]

    @property
    def is_over(self) -> bool:
        return INPUT.is_terminal(self.state)

    @property
    def is_usable(self) -> bool:
        return self.state in USABLE


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundObject:
    """One object of a source, as a list of it shows it."""

    name: str
    """Its key below the source; of a source that is one object, the last part of its key."""

    size_bytes: int
    etag: str


def address_of(home: str, found: Iterable[FoundObject]) -> str:
    """SHA-256 over names, sizes and etags, in order of the names.

    `home` names the store, since an etag means nothing in another one: equal content below two prefixes of one store
    has one address, and any change at the source another.
    """
    digest = hashlib.sha256(json.dumps(home).encode())
    for each in found:
        digest.update(json.dumps([each.name, each.size_bytes, each.etag]).encode())
    return digest.hexdigest()
