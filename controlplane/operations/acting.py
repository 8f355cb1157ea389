"""Acting for somebody: what goes on after a request has the rights of its token, as long as those last."""

from controlplane.domain.errors import Forbidden
from controlplane.domain.ids import TokenId
from controlplane.identity.principals import Principal, Role
from controlplane.store import Tx


def principal_for(tx: Tx, token_id: TokenId) -> Principal:
    """Raises `Forbidden` for a token that was revoked or has expired since."""
    row = tx.tokens.get(token_id)
    if row is None:
        raise Forbidden(
            f"token {token_id} is gone, and with it the right to go on", field="token", value=token_id
        )
    if row.revoked_at is not None:
        raise Forbidden(
            f"token {row.name!r} was revoked, and with it the right to go on", field="token", value=row.name
        )
    if row.expires_at is not None and row.expires_at <= tx.now:
        raise Forbidden(
            f"token {row.name!r} has expired, and with it the right to go on", field="token", value=row.name
        )
    return Principal(token_id=row.id, name=row.name, role=Role(row.role), project_id=row.project_id)
