"""Job pages: which jobs stand on a page, found in bounded time whatever the filter.

Every index here holds jobs newest first behind what it is for: a bucket, a project, a name, a label, or nothing. A page
is a walk along the one with the fewest candidates; the counts say beforehand how many those are.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, cast

from sqlalchemy import ColumnElement, Select, bindparam, func, select, tuple_, union_all
from sqlalchemy.sql.base import ReadOnlyColumnCollection

from controlplane.domain.ids import JobId
from controlplane.store.counts import Counts
from controlplane.store.links import Link
from controlplane.store.rows import Row, micros
from controlplane.store.schema import JOB_LABELS, JOBS, AnyColumn
from controlplane.store.statements import Statement, bound, is_in, listed
from controlplane.store.views import Bucket, JobFilter, JobPlace

# `Any`: as in the schema.
Columns = ReadOnlyColumnCollection[str, Any]

MOST_WALKED: Final = 2_500
"""Candidates that one page looks at; a page that has found too little by then says where to go on."""

MOST_RUNS: Final = 32
"""Buckets that are merged in one statement."""

MOST_BUCKETS: Final = 8 * MOST_RUNS
FEW_OF_A_BUCKET: Final = 4

_C: Final = JOBS.c
_L: Final = JOB_LABELS.c
_FILTERS: Final = frozenset({"project_ids", "queue_id", "states", "kind", "without", "name", "label"})
Key = tuple[str, str, str]
"""Queue, state and kind of a bucket."""

_NOWHERE: Final[Key] = ("", "", "")
"""A bucket that holds nothing, so that few numbers of runs need a text of their own."""

_RUNS: Final[dict[str, tuple[ColumnElement[bool], ...]]] = {
    "all": (),
    "project": (_C.project_id == bindparam("project_id"),),
    "name": (_C.name == bindparam("name"),),
    "label": (_L.name == bindparam("label"), _L.value == bindparam("label_value")),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Search:
    """A filter on its way into SQL."""

    link: Link
    wanted: JobFilter
    after: JobPlace | None
    limit: int
    """One more than the page shows."""

    def params(self) -> dict[str, object]:
        name, value = self.wanted.label or (None, None)
        projects = self.wanted.project_ids
        params: dict[str, object] = {
            "project_id": projects[0] if projects is not None and len(projects) == 1 else None,
            "project_ids": None if projects is None else listed(projects),
            "queue_id": self.wanted.queue_id,
            "states": listed(self.wanted.states) if self.wanted.states else None,
            "kind": self.wanted.kind,
            "without": self.wanted.without,
            "name": self.wanted.name,
            "label": name,
            "label_value": value,
            "since": None if self.wanted.submitted_after is None else micros(self.wanted.submitted_after),
            "after_at": None if self.after is None else self.after.submitted_us,
            "after_id": None if self.after is None else self.after.job_id,
        }
        return {name: value for name, value in params.items() if value is not None} | {"limit": self.limit}

    @property
    def range(self) -> frozenset[str]:
        """Which of the conditions on a job's place are set."""
        return frozenset({"since", "after_id"}.intersection(self.params()))

    def filters(self, *but: str) -> frozenset[str]:
        """Those that the walk itself does not see to."""
        return _FILTERS.intersection(self.params()).difference(but)


def find(
    link: Link, wanted: JobFilter, after: JobPlace | None, limit: int
) -> tuple[list[JobId], JobPlace | None]:
    """The jobs of a page, newest first, and where the next one begins (None: nowhere)."""
    search = _Search(link=link, wanted=wanted, after=after, limit=limit + 1)
    rows, reached = _found(search)
    if len(rows) > limit:
        reached = _place(rows[limit - 1])
    return [JobId(row[1]) for row in rows[:limit]], reached


def _found(search: _Search) -> tuple[list[Row], JobPlace | None]:
    wanted = search.wanted
    is_everywhere = not (wanted.queue_id or wanted.states or wanted.kind or wanted.name or wanted.label)
    if is_everywhere and wanted.project_ids is None:
        return _walk(search, "all")
    if is_everywhere and len(wanted.project_ids or ()) == 1:
        return _walk(search, "project", "project_ids")
    buckets = Counts(search.link).buckets(wanted)
    jobs = sum(each.jobs for each in buckets)
    candidates = _candidates(search, most=min(jobs, MOST_WALKED))
    fewest = min(candidates, key=lambda run: candidates[run], default=None)
    if fewest is not None and candidates[fewest] < jobs:
        return _walk(search, fewest, fewest)
    if len(buckets) > MOST_BUCKETS:
        return _walk(search, "all")
    return _merged(search, buckets), None


def _candidates(search: _Search, *, most: int) -> dict[str, int]:
    """How many jobs have the name, how many the label; not counted further than that matters."""
    params = search.params()
    counted = {}
    for run in sorted(search.filters() & {"name", "label"}):
        row = search.link.row(_count(run), params | {"most": most})
        counted[run] = 0 if row is None else int(row[0])
    return counted


def _walk(search: _Search, run: str, *seen_to: str) -> tuple[list[Row], JobPlace | None]:
    """Along one index, as far as one page may look."""
    filters = search.filters(*seen_to)
    params = search.params() | {"most": MOST_WALKED + search.limit}
    rows = search.link.rows(_page(run, search.range, filters), params)
    if len(rows) == search.limit or not filters:
        return rows, None
    last = {"most": MOST_WALKED + search.limit - 1, "one": 1}
    row = search.link.row(_reached(run, search.range), params | last)
    return rows, None if row is None else _place(row)


def _merged(search: _Search, buckets: Sequence[Bucket]) -> list[Row]:
    """The newest of the buckets' newest: a few of each, and then more of those that had no end in sight."""
    keys = [(each.queue_id, each.state, each.kind) for each in buckets]
    few = FEW_OF_A_BUCKET + FEW_OF_A_BUCKET * search.limit // max(len(keys), 1)
    if few >= search.limit:
        return _newest_of(search, keys, search.limit)
    rows = _newest_of(search, keys, few)
    shown = Counter(row[2:] for row in rows[: search.limit])
    long = [key for key in keys if shown[key] == few]
    rows = [row for row in rows if shown[row[2:]] < few] + _newest_of(search, long, search.limit)
    return sorted(rows, reverse=True)[: search.limit]


def _newest_of(search: _Search, keys: Sequence[Key], few: int) -> list[Row]:
    filters = search.filters("project_ids", "queue_id", "states", "kind", "without")
    rows: list[Row] = []
    for start in range(0, len(keys), MOST_RUNS):
        part = keys[start : start + MOST_RUNS]
        runs = 1 << (len(part) - 1).bit_length()
        params = search.params() | _bucket_params([*part, *[_NOWHERE] * (runs - len(part))])
        rows += search.link.rows(
            _merge(runs, search.range, filters), params | {"limit": few, "most": MOST_WALKED}
        )
    return sorted(map(tuple, rows), reverse=True)


def _bucket_params(keys: Sequence[Key]) -> dict[str, object]:
    return {f"{name}{n}": part for n, key in enumerate(keys) for name, part in zip("qsk", key, strict=True)}


def _place(row: Row) -> JobPlace:
    return JobPlace(submitted_us=row[0], job_id=JobId(row[1]))


def _order(run: str) -> tuple[AnyColumn, AnyColumn]:
    """What the walk is ordered by: the moment of the submit, then the job's id."""
    return (_L.submitted_at, _L.job_id) if run == "label" else (_C.submitted_at, _C.id)


def _along(run: str, within: frozenset[str], *columns: AnyColumn) -> Select[Row]:
    at, job_id = _order(run)
    walk = select(at.label("submitted_at"), job_id.label("id"), *columns)
    if run == "label" and columns:
        walk = walk.join(JOBS, _C.id == job_id)
    return walk.where(*_RUNS[run], *_range(at, job_id, within)).order_by(at.desc(), job_id.desc())


def _range(at: AnyColumn, job_id: AnyColumn, within: frozenset[str]) -> Iterator[ColumnElement[bool]]:
    if "since" in within:
        yield at > bound("since")
    if "after_id" in within:
        yield tuple_(at, job_id) < tuple_(bound("after_at"), bindparam("after_id", type_=_C.id.type))


@cache
def _page(run: str, within: frozenset[str], filters: frozenset[str]) -> Statement:
    if not filters:
        return Statement(_along(run, within).limit(bound("limit")))
    walk = _along(run, within, _C.project_id, _C.queue_id, _C.state, _C.kind, _C.name)
    # Neither database takes the limit out of the walk, so what is filtered out costs a bounded number of looks. Both
    # pass the walk's rows on as they come; an order here would make SQLite finish every walk and sort it.
    walked = walk.limit(bound("most")).subquery("walked").c
    found = select(walked.submitted_at, walked.id).where(*_conditions(walked, filters))
    return Statement(found.limit(bound("limit")))


@cache
def _reached(run: str, within: frozenset[str]) -> Statement:
    """The last job that a walk looked at, if there are that many."""
    return Statement(_along(run, within).offset(bound("most")).limit(bound("one")))


def _conditions(of: Columns, filters: frozenset[str]) -> list[ColumnElement[bool]]:
    return [_condition(of, name) for name in sorted(filters)]


def _condition(of: Columns, name: str) -> ColumnElement[bool]:
    match name:
        case "project_ids":
            return is_in(of.project_id, "project_ids")
        case "states":
            return is_in(of.state, "states")
        case "label":
            # Not EXISTS: PostgreSQL may turn that into a walk over all jobs with the label.
            found = select(_L.job_id).where(_L.job_id == of.id, *_RUNS["label"])
            return found.scalar_subquery().is_not(None)
        case "without":
            return cast("ColumnElement[bool]", of.kind != bindparam("without"))
        case _:
            column: AnyColumn = of[name]
            return column == bindparam(name)


@cache
def _merge(runs: int, within: frozenset[str], filters: frozenset[str]) -> Statement:
    parts = [_bucket(n, within, filters).subquery(f"run{n}") for n in range(runs)]
    return Statement(union_all(*(select(*part.c) for part in parts)))


def _bucket(n: int, within: frozenset[str], filters: frozenset[str]) -> Select[Row]:
    key = (_C.queue_id == bindparam(f"q{n}"), _C.state == bindparam(f"s{n}"), _C.kind == bindparam(f"k{n}"))
    run = _along("all", within, _C.queue_id, _C.state, _C.kind).where(*key)
    if not filters:
        return run.limit(bound("limit"))
    # Buckets that are filtered hold no more than may be walked. The limit says so to PostgreSQL, which would else take
    # the index of the names, whatever the name.
    walked = run.add_columns(_C.name).limit(bound("most")).subquery(f"bucket{n}").c
    found = select(walked.submitted_at, walked.id, walked.queue_id, walked.state, walked.kind)
    return found.where(*_conditions(walked, filters)).limit(bound("limit"))


@cache
def _count(run: str) -> Statement:
    """Of its candidates, as far as it matters."""
    some = select(_order(run)[0]).where(*_RUNS[run]).limit(bound("most")).subquery("counted")
    return Statement(select(func.count()).select_from(some))
