"""Sites' table, and what the machines of claims said last."""

from typing import Final

from sqlalchemy import bindparam, delete, select, update

from controlplane.domain.claims import ClaimState
from controlplane.domain.events import Event
from controlplane.domain.ids import ClaimId, LaunchId, SecretId
from controlplane.domain.sites import CheckIn, Phase, Site
from controlplane.store.events import Events
from controlplane.store.links import Link
from controlplane.store.rows import Row, micros, micros_or_none, moment, moment_or_none, packed, unpacked
from controlplane.store.schema_claims import CHECK_INS, CLAIMS, SITES
from controlplane.store.statements import Statement, fixed, inserted, is_in, listed

_S: Final = SITES.c
_C: Final = CHECK_INS.c
_SITE: Final = select(
    _S.claim_id,
    _S.url,
    _S.secret_id,
    _S.head,
    _S.head_host,
    _S.members,
    _S.session,
    _S.seen_at,
    _S.problem,
)
_ADD: Final = inserted(SITES)
_MANY: Final = Statement(_SITE.where(is_in(_S.claim_id, "ids")))
_SAVE: Final = Statement(
    update(SITES)
    .where(_S.claim_id == bindparam("claim_id"))
    .values({column: bindparam(column.name) for column in _S if column.name != "claim_id"}),
    table=SITES,
)
_END: Final = Statement(delete(SITES).where(_S.claim_id == bindparam("claim_id")), table=SITES)
_ADD_CHECK_IN: Final = inserted(CHECK_INS)
_SAVE_CHECK_IN: Final = Statement(
    update(CHECK_INS)
    .where(_C.claim_id == bindparam("claim_id"), _C.machine == bindparam("machine"))
    .values({column: bindparam(column.name) for column in _C if column.name not in {"claim_id", "machine"}}),
    table=CHECK_INS,
)
_CHECK_INS: Final = Statement(
    select(_C.claim_id, _C.machine, _C.launch_id, _C.host, _C.phase, _C.at, _C.notice, _C.problem)
    .where(_C.claim_id == bindparam("claim_id"))
    .order_by(_C.machine)
)
_END_CHECK_INS: Final = Statement(
    delete(CHECK_INS).where(_C.claim_id == bindparam("claim_id")), table=CHECK_INS
)

_OF_NOBODY: Final = Statement(
    select(SITES.c.claim_id)
    .join(CLAIMS, CLAIMS.c.id == SITES.c.claim_id)
    .where(CLAIMS.c.state == fixed(ClaimState.GONE))
    .order_by(SITES.c.claim_id)
)


class Sites:
    __slots__ = ("_events", "_link")

    def __init__(self, link: Link) -> None:
        self._link = link
        self._events = Events(link)

    def get(self, claim_id: ClaimId) -> Site | None:
        return self.many([claim_id]).get(claim_id)

    def many(self, claim_ids: list[ClaimId]) -> dict[ClaimId, Site]:
        """Claims without a site are left out."""
        if not claim_ids:
            return {}
        found = map(_site, self._link.rows(_MANY, {"ids": listed(claim_ids)}))
        return {site.claim_id: site for site in found}

    def put(self, site: Site) -> None:
        """Inserts or replaces. That it is up, or no longer the same Ray, is an event."""
        known = self.get(site.claim_id)
        self._link.change(_ADD if known is None else _SAVE, _params(site))
        if site.is_up and (known is None or known.url != site.url):
            self._events.add(Event(kind="site.up", subject=site.claim_id, at=self._link.now, data={}))

    def of_nobody(self) -> list[ClaimId]:
        """Whose claim is gone, by id of the claim."""
        return [ClaimId(row[0]) for row in self._link.rows(_OF_NOBODY)]

    def end(self, claim_id: ClaimId) -> None:
        """With all that its machines have said. Absent is fine."""
        self._link.change(_END_CHECK_INS, {"claim_id": claim_id})
        self._link.change(_END, {"claim_id": claim_id})

    def check_in(self, word: CheckIn) -> CheckIn | None:
        """Keeps the newest word of a machine, and returns the one before."""
        known = {each.machine: each for each in self.check_ins(word.claim_id)}.get(word.machine)
        self._link.change(_ADD_CHECK_IN if known is None else _SAVE_CHECK_IN, _check_in_params(word))
        if known is None or (known.phase, known.notice) != (word.phase, word.notice):
            data = {"claim_id": word.claim_id, "notice": word.notice, "reason": word.problem}
            self._events.add(Event(kind=f"machine.{word.phase}", subject=word.machine, at=word.at, data=data))
        return known

    def check_ins(self, claim_id: ClaimId) -> list[CheckIn]:
        """By machine."""
        return [_check_in(row) for row in self._link.rows(_CHECK_INS, {"claim_id": claim_id})]


def _params(site: Site) -> dict[str, object]:
    return {
        "claim_id": site.claim_id,
        "url": site.url,
        "secret_id": site.secret_id,
        "head": site.head,
        "head_host": site.head_host,
        "members": packed(dict(site.members)),
        "session": site.session,
        "seen_at": micros_or_none(site.seen_at),
        "problem": site.problem,
    }


def _site(row: Row) -> Site:
    (claim_id, url, secret_id, head, head_host, members, session, seen_at, problem) = row
    return Site(
        claim_id=ClaimId(claim_id),
        url=url,
        secret_id=None if secret_id is None else SecretId(secret_id),
        head=head,
        head_host=head_host,
        members=tuple(sorted(unpacked(members).items())),
        session=session,
        seen_at=moment_or_none(seen_at),
        problem=problem,
    )


def _check_in_params(word: CheckIn) -> dict[str, object]:
    return {
        "claim_id": word.claim_id,
        "machine": word.machine,
        "launch_id": word.launch_id,
        "host": word.host,
        "phase": word.phase.value,
        "at": micros(word.at),
        "notice": word.notice,
        "problem": word.problem,
    }


def _check_in(row: Row) -> CheckIn:
    (claim_id, machine, launch_id, host, phase, at, notice, problem) = row
    return CheckIn(
        claim_id=ClaimId(claim_id),
        launch_id=LaunchId(launch_id),
        machine=machine,
        host=host,
        phase=Phase(phase),
        at=moment(at),
        notice=notice,
        problem=problem,
    )
