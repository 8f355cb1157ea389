"""Batches: several jobs that are accepted together or not at all, and may wait for each other."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from controlplane.domain.errors import Invalid
from controlplane.domain.ids import JobId
from controlplane.identity.policy import Action, authorize
from controlplane.identity.principals import Principal
from controlplane.operations import dependencies
from controlplane.operations.context import Context
from controlplane.operations.idempotency import Once, write_once
from controlplane.operations.submission import Draft, accept, draft_of, open_desk
from controlplane.store import JobView, Tx
from controlplane.wire.jobspec import JobSpec

Names = Mapping[str, Sequence[int]]
"""Where in the batch the jobs of a name stand."""


def submit_many(
    context: Context,
    principal: Principal,
    batch: Sequence[tuple[JobSpec, str]],
    *,
    once: Once[list[JobView]] | None = None,
) -> list[JobView]:
    """Each spec comes with its JSON as it was sent. Answers in the order of the request."""
    authorize(principal, Action.SUBMIT)
    drafts = [
        draft_of(context.ids, spec, spec_json, path=f"jobs.{position}.")
        for position, (spec, spec_json) in enumerate(batch)
    ]
    names = _names(drafts)
    needs = {position: _positions(draft, names) for position, draft in enumerate(drafts)}
    order = dependencies.in_order(needs, [draft.spec.name for draft in drafts])
    resolved = [replace(draft, depends_on=_ids(draft, drafts, names)) for draft in drafts]

    def unit(tx: Tx) -> list[JobView]:
        desk = open_desk(tx, principal)
        # A job's row refers to the rows of what it needs, so those are written first.
        views = {position: accept(desk, resolved[position]) for position in order}
        return [views[position] for position in range(len(resolved))]

    return write_once(context.store, unit, once)


def _names(drafts: Sequence[Draft]) -> Names:
    positions: dict[str, list[int]] = {}
    for position, draft in enumerate(drafts):
        positions.setdefault(draft.spec.name, []).append(position)
    return positions


def _positions(draft: Draft, names: Names) -> tuple[int, ...]:
    """Which jobs of the batch this one needs. Raises `Invalid` for a name that several carry."""
    found: list[int] = []
    for name in dict.fromkeys(draft.spec.depends_on):
        named = names.get(name, ())
        if len(named) > 1:
            message = f"{len(named)} jobs of the batch are named {name!r}"
            raise Invalid(message, field=f"{draft.path}depends_on", value=name, limit=1)
        found.extend(named)
    return tuple(found)


def _ids(draft: Draft, drafts: Sequence[Draft], names: Names) -> tuple[JobId, ...]:
    """A name of the batch comes before an id of an older job."""
    needed = dict.fromkeys(draft.spec.depends_on)
    return tuple(drafts[names[each][0]].job_id if each in names else JobId(each) for each in needed)
