"""Sources: what a job reads, and which registered stores it lies in; a job may only be where all of that may be.

Code reads an input or a checkpoint where it lies, wherever no near store takes its place: a place that the rule of a
store leaves out is no place for whoever reads from that store.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Final

from controlplane.domain.data_copies import RegisteredStore
from controlplane.domain.ids import JobId
from controlplane.domain.jobs import ask_id
from controlplane.domain.residency import ANYWHERE, Reads, Rules, Source, in_words
from controlplane.operations.nearness import home
from controlplane.operations.translation import reading
from controlplane.store import Tx

NO_SIZES: Final = MappingProxyType[str, float]({})
PAGE: Final = 500
"""Of jobs whose specs are held in memory at once."""


def sources(
    stores: Sequence[RegisteredStore],
    inputs: Mapping[str, str],
    checkpoint_uri: str | None,
    input_gib: Mapping[str, float] = NO_SIZES,
) -> tuple[Source, ...]:
    """What lies in registered stores; the code alone knows the rest."""
    named = [
        (f"inputs.{name}", f"input {name!r}", uri, _milli(input_gib[name]) if name in input_gib else 0)
        for name, uri in sorted(inputs.items())
    ]
    if checkpoint_uri is not None:
        named.append(("checkpoint_uri", "checkpoint", checkpoint_uri, 0))
    homes = [(each, home(stores, each[2])) for each in named]
    return tuple(
        Source(field=field, called=called, uri=uri, store=at.name, region=at.region, milli_gib=size)
        for (field, called, uri, size), at in homes
        if at is not None
    )


def sources_of_job(tx: Tx, job_id: JobId) -> tuple[Source, ...]:
    """What its spec names, and the checkpoint that its next attempt would resume from."""
    return _sources_of_jobs(tx, tx.object_stores.all(), [job_id]).get(job_id, ())


def names(found: Sequence[Source]) -> tuple[str, ...]:
    return tuple(sorted({each.store for each in found}))


def reads(found: Sequence[Source]) -> Reads:
    """Of data whose region nobody knows, nobody can say that it is elsewhere: it is left out."""
    milli = Counter[str]()
    for each in found:
        milli[each.region] += each.milli_gib
    data = ((region, -(-size // 1000)) for region, size in sorted(milli.items()) if region and size)
    return Reads(stores=names(found), data=tuple(data))


def limits(rules: Rules, found: Sequence[Source]) -> Iterator[str]:
    """In words, which of them may not be everywhere."""
    for each in dict.fromkeys((each.called, each.store) for each in found):
        rule = rules.data.get(each[1], ANYWHERE)
        if not rule.is_anywhere:
            yield f"its {each[0]} lies in store {each[1]!r}, and what lies there may only be {in_words(rule)}"


def may_read(spec_json: str) -> bool:
    """False: it names no object, without a look at what it names."""
    return "://" in spec_json


def follow(tx: Tx, job_ids: Sequence[JobId]) -> None:
    """Where they may be next is as their checkpoints and the stores are now.

    Of what runs the scheduler is told so with the next event about it.
    """
    _rebind(tx, tx.object_stores.kept(), job_ids)


def follow_stores(tx: Tx) -> None:
    """A store came or went: where all that is not over may be hangs on what lies in those there are now.

    All of it in one transaction: nothing is placed by the stores of before once this has been said. Nor is any job
    overlooked that is being written by them: it keeps them (`ObjectStores.kept`) until it can be found here.
    """
    stores = tx.object_stores.all()
    found = tx.jobs.reading("", PAGE)
    while found:
        _rebind(tx, stores, found)
        found = tx.jobs.reading(found[-1], PAGE)


def _milli(gib: float) -> int:
    """Whole numbers add up to the same in any order; the smallest input is one, too."""
    return max(1, round(1000 * gib))


def _rebind(tx: Tx, stores: Sequence[RegisteredStore], job_ids: Sequence[JobId]) -> None:
    found = _sources_of_jobs(tx, stores, job_ids)
    asks = tx.asks.many([ask_id(job_id) for job_id in job_ids]).values()
    bound = [(ask, reads(found.get(ask.job_id, ()))) for ask in asks]
    tx.asks.reclass([reading(ask, now) for ask, now in bound if now != ask.traits.reads])


def _sources_of_jobs(
    tx: Tx, stores: Sequence[RegisteredStore], job_ids: Sequence[JobId]
) -> dict[JobId, tuple[Source, ...]]:
    """Jobs that are unknown are left out."""
    if not stores:
        return {}
    newest = tx.records.newest_checkpoints(job_ids)
    found = {}
    for job_id, text in tx.jobs.specs(job_ids).items():
        spec = json.loads(text)
        resumed = sources(stores, {}, newest[job_id].uri) if job_id in newest else ()
        named = sources(
            stores, spec.get("inputs") or {}, spec.get("checkpoint_uri"), spec.get("input_gib") or {}
        )
        found[job_id] = (*named, *resumed)
    return found
