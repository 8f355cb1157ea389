"""Staging: the inputs of jobs, copied once to the store near where they run, and read there by all that want the same.

What an attempt reads is what was at the source after the attempt was placed, or later: nobody gets what was there
before. Attempts that are placed together share one look at the source, and all that find the same content share one
copy of it (domain/inputs.py).
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Final, Self

from controlplane.domain.attempts import Attempt
from controlplane.domain.data_copies import RegisteredStore
from controlplane.domain.ids import AttemptId, ClusterId, InputId
from controlplane.domain.inputs import Input, InputState
from controlplane.domain.jobs import JobKind
from controlplane.domain.residency import Rules
from controlplane.operations.ids import Ids
from controlplane.operations.nearness import home_and_near
from controlplane.reconcilers.attempts import Arrival
from controlplane.store import Tx

FOLDER: Final = "crossdock-inputs"
"""Where inputs lie in a store that is near some clusters."""

VARIABLE: Final = "CROSSDOCK_INPUT_"
MOST_SPECS_REMEMBERED: Final = 64

NAMED: Final = '"inputs"'
"""Without it a stored spec has none, and need not be read."""

ARRIVALS: Final = {
    InputState.LOOKING: Arrival.UNDER_WAY,
    InputState.COPYING: Arrival.UNDER_WAY,
    InputState.READY: Arrival.THERE,
    InputState.FAILED: Arrival.LOST,
    InputState.LEAVING: Arrival.WANTED,
    InputState.GONE: Arrival.WANTED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Freight:
    """One thing that has to be there before an attempt starts."""

    what: str
    """For people: `its checkpoint`."""

    source: str
    destination: str
    arrival: Arrival
    since: datetime
    problem: str | None = None
    """Why it will never be there or, while it is under way, what the last try met."""

    store: str | None = None
    """Name of the store that is to keep it; None: the destination says where exactly it goes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shelves:
    """What decides where things lie near attempts."""

    stores: Sequence[RegisteredStore]
    rules: Rules
    clusters: Mapping[ClusterId, str]
    """Names of those that some attempt is on."""

    @classmethod
    def load(cls, tx: Tx, attempts: Sequence[Attempt]) -> Self | None:
        """None: no store is near anything."""
        stores = tx.object_stores.all() if attempts else []
        if not any(each.near for each in stores):
            return None
        found = [tx.clusters.get(each) for each in dict.fromkeys(each.cluster_id for each in attempts)]
        names = {each.id: each.name for each in found if each is not None}
        return cls(stores=stores, rules=tx.residencies.rules(), clusters=names)

    def store_for(self, attempt: Attempt, uri: str) -> str | None:
        """Name of the store that is to keep it; None: it is read where it is."""
        name = self.clusters.get(attempt.cluster_id)
        if name is None:
            return None
        found = home_and_near(self.stores, self.rules, attempt.project_id, name, uri)
        return None if found is None else found[1].name


@lru_cache(maxsize=MOST_SPECS_REMEMBERED)
def inputs_of(spec_json: str) -> Mapping[str, str]:
    """URIs by name, as the user gave them, of what is copied. Replicas have links to their models where those lie."""
    if NAMED not in spec_json:
        return {}
    spec = json.loads(spec_json)
    found = spec.get("inputs")
    return found if isinstance(found, dict) and spec.get("kind") != JobKind.REPLICA else {}


def freights(tx: Tx, shelves: Shelves, attempts: Sequence[Attempt]) -> dict[AttemptId, tuple[Freight, ...]]:
    """Of those that read something which does not lie near them."""
    wanted = _wanted(tx, shelves, attempts)
    rows = tx.inputs.of_attempts(list(wanted)) if wanted else {}
    by_id = {attempt.id: attempt for attempt in attempts}
    return {
        attempt_id: tuple(
            _freight(by_id[attempt_id], source, store, _row(rows.get(attempt_id, ()), source, store))
            for source, store in stores.items()
        )
        for attempt_id, stores in wanted.items()
    }


def ask(tx: Tx, ids: Ids, attempt: Attempt, source: str, store: str) -> None:
    """Shares what another job of the project has asked for since the attempt was placed."""
    found = tx.inputs.newest(attempt.project_id, source, store, attempt.placed_at)
    if found is None:
        found = Input(
            id=InputId(ids.new("input")),
            project_id=attempt.project_id,
            source=source,
            store=store,
            state=InputState.LOOKING,
            since=tx.now,
            created_at=tx.now,
            asked_at=tx.now,
            used_at=tx.now,
        )
        tx.inputs.add(found)
        tx.work.poke("input", found.id)
    elif found.state is InputState.READY:
        # A new version: who was about to let go of it has to look again.
        tx.inputs.save(found.changed(used_at=tx.now))
    tx.inputs.refer(attempt.id, found.id)


def read_from(tx: Tx, attempts: Sequence[Attempt]) -> dict[AttemptId, dict[str, str]]:
    """Where attempts find their inputs, by the URI that their jobs name; what is not here is read where it is."""
    shelves = Shelves.load(tx, attempts)
    wanted = _wanted(tx, shelves, attempts) if shelves is not None else {}
    rows = tx.inputs.of_attempts(list(wanted)) if wanted else {}
    return {
        attempt_id: {
            source: row.target
            for source, store in stores.items()
            if (row := _row(rows.get(attempt_id, ()), source, store)) is not None and row.target is not None
        }
        for attempt_id, stores in wanted.items()
    }


def environment_of(inputs: Mapping[str, str], found: Mapping[str, str]) -> dict[str, str]:
    """The variables in which code is told where its inputs are."""
    return {f"{VARIABLE}{name.upper()}": found.get(uri, uri) for name, uri in inputs.items()}


def _wanted(tx: Tx, shelves: Shelves, attempts: Sequence[Attempt]) -> dict[AttemptId, dict[str, str]]:
    """The store that is to keep it by source, of attempts that have such sources."""
    specs = tx.jobs.specs([each.job_id for each in attempts])
    wanted = {
        attempt.id: {
            uri: store
            for uri in inputs_of(specs.get(attempt.job_id, "")).values()
            if (store := shelves.store_for(attempt, uri)) is not None
        }
        for attempt in attempts
    }
    return {attempt_id: stores for attempt_id, stores in wanted.items() if stores}


def _row(rows: Sequence[Input], source: str, store: str) -> Input | None:
    """The newest; what was deleted since it was asked for is asked for again."""
    here = [each for each in rows if (each.source, each.store) == (source, store)]
    return next((each for each in reversed(here) if ARRIVALS[each.state] is not Arrival.WANTED), None)


def _freight(attempt: Attempt, source: str, store: str, row: Input | None) -> Freight:
    return Freight(
        what=f"its input {source}",
        source=source,
        destination=f"store {store!r}" if row is None or row.target is None else row.target,
        arrival=Arrival.WANTED if row is None else ARRIVALS[row.state],
        since=attempt.placed_at if row is None else max(row.since, attempt.placed_at),
        problem=None if row is None else row.problem,
        store=store,
    )
