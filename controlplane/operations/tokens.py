"""Tokens: making, listing and revoking the secrets that clients carry."""

import json
from dataclasses import dataclass, field
from datetime import datetime

from controlplane.domain.errors import Conflict, Invalid, NotFound
from controlplane.domain.events import Event
from controlplane.domain.ids import ProjectId, TokenId
from controlplane.identity import tokens
from controlplane.identity.policy import Action, authorize
from controlplane.identity.principals import Principal, Role
from controlplane.operations.context import Context
from controlplane.operations.idempotency import Once, Replay, write_once
from controlplane.operations.lookups import project_for, project_names
from controlplane.store import TokenRow, Tx


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenView:
    row: TokenRow
    project_name: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewToken:
    view: TokenView
    secret: str = field(repr=False)
    """Known here and now only."""


def create(
    context: Context,
    principal: Principal,
    *,
    name: str,
    role: Role,
    project: str | None = None,
    expires_at: datetime | None = None,
    once: Once[NewToken] | None = None,
) -> NewToken:
    """Raises `Conflict` when the same request was done before: its secret was in that answer and nowhere else."""
    authorize(principal, Action.EDIT_TOKENS)
    secret, token_id = tokens.new_secret(), TokenId(context.ids.new("token"))

    def unit(tx: Tx) -> NewToken:
        owner = project_for(tx, principal, project, Action.EDIT_TOKENS).id if project is not None else None
        _check_reach(principal, owner)
        if expires_at is not None and expires_at <= tx.now:
            raise Invalid("lies in the past", field="expires_at", value=str(expires_at), limit=str(tx.now))
        row = TokenRow(
            id=token_id,
            name=name,
            role=role.value,
            project_id=owner,
            hash=tokens.hash_of(secret),
            created_at=tx.now,
            expires_at=expires_at,
        )
        tx.tokens.add(row)
        _record(tx, principal, row, "token.created")
        return NewToken(view=TokenView(row=row, project_name=project), secret=secret)

    try:
        return write_once(context.store, unit, once)
    except Replay as before:
        made = json.loads(before.remembered.body)["id"]
        raise Conflict(
            f"token {made} was made by an earlier request with this idempotency key; its secret "
            "was in that answer only: revoke it and make another",
            field="Idempotency-Key",
        ) from None


def listed(context: Context, principal: Principal, *, after: str | None, limit: int) -> list[TokenView]:
    """By id, from behind the token `after`; an admin of one project sees the tokens of that project."""
    authorize(principal, Action.EDIT_TOKENS)
    with context.store.read() as tx:
        return _named(tx, _visible_rows(tx, principal, after, limit))


def revoke(
    context: Context, principal: Principal, token_id: str, *, once: Once[TokenView] | None = None
) -> TokenView:
    """Refused within seconds from now on (see `authentication`). Revoking again changes nothing."""
    authorize(principal, Action.EDIT_TOKENS)

    def unit(tx: Tx) -> TokenView:
        row = _row_for(tx, principal, token_id)
        if row.revoked_at is None:
            tx.tokens.revoke(row.id, tx.now)
            _record(tx, principal, row, "token.revoked")
        return _named(tx, [_row_for(tx, principal, token_id)])[0]

    return write_once(context.store, unit, once)


def project_of(context: Context, principal: Principal) -> str | None:
    """Name of the project that the token is bound to."""
    if principal.project_id is None:
        return None
    with context.store.read() as tx:
        return project_names(tx, frozenset({principal.project_id}))[principal.project_id]


def _check_reach(principal: Principal, owner: ProjectId | None) -> None:
    if owner is None and principal.project_id is not None:
        raise Invalid(
            "is needed: this token is bound to one project and makes tokens for it only", field="project"
        )


def _row_for(tx: Tx, principal: Principal, token_id: str) -> TokenRow:
    row = tx.tokens.get(TokenId(token_id))
    if row is None or not _is_visible(principal, row):
        raise NotFound(f"there is no token {token_id!r}, or not for this one", field="token", value=token_id)
    return row


def _is_visible(principal: Principal, row: TokenRow) -> bool:
    return principal.project_id is None or row.project_id == principal.project_id


def _visible_rows(tx: Tx, principal: Principal, after: str | None, limit: int) -> list[TokenRow]:
    found: list[TokenRow] = []
    place = TokenId(after) if after else None
    while len(found) < limit:
        page = tx.tokens.list(place, limit)
        found += [row for row in page if _is_visible(principal, row)]
        if len(page) < limit:
            break
        place = page[-1].id
    return found[:limit]


def _named(tx: Tx, rows: list[TokenRow]) -> list[TokenView]:
    names = project_names(tx, frozenset(row.project_id for row in rows if row.project_id is not None))
    return [
        TokenView(row=row, project_name=names[row.project_id] if row.project_id else None) for row in rows
    ]


def _record(tx: Tx, principal: Principal, row: TokenRow, kind: str) -> None:
    data = {"by": principal.name, "name": row.name, "role": row.role}
    tx.events.add(Event(kind=kind, subject=row.id, at=tx.now, project_id=row.project_id, data=data))
