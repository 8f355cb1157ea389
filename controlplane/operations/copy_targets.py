"""Copy targets: where a project may not copy to, since what lies there is read on behalf of others."""

from collections.abc import Iterator

from controlplane.domain.errors import Forbidden
from controlplane.domain.ids import ProjectId
from controlplane.identity.principals import Principal, Role
from controlplane.operations.nearness import below
from controlplane.operations.staging import FOLDER
from controlplane.storage.uris import ObjectUri, covers, parse
from controlplane.store import Tx

WHO_MAY = "; only an admin token of all projects may copy there"


def check_target(tx: Tx, principal: Principal, project_id: ProjectId, target: ObjectUri) -> None:
    """Raises `Forbidden` for what the control plane keeps for other projects, and where it alone writes."""
    if principal.role is Role.ADMIN and principal.project_id is None:
        return
    for store in tx.object_stores.all():
        if covers(parse(below(store, FOLDER)), target):
            raise _refusal(
                target, f"is below {FOLDER!r} of store {store.name!r}, where only the server writes"
            )
    found = tx.holdings.of_others(project_id, str(target), tuple(_above(target)))
    if found is not None:
        raise _refusal(target, f"is, or has below or above it, {found} of another project")


def _refusal(target: ObjectUri, why: str) -> Forbidden:
    return Forbidden(f"{target} {why}{WHO_MAY}", field="target", value=str(target))


def _above(uri: ObjectUri) -> Iterator[str]:
    """All prefixes that cover it, with `/` at the end and, as code may name a folder, without."""
    parts = uri.key.rstrip("/").split("/")
    for length in range(len(parts)):
        key = "/".join(parts[:length])
        folder = f"{uri.kind}://{uri.bucket}/{key}"
        yield from (folder, f"{folder}/") if key else (folder,)
