"""Old copies: forgotten a while after they were over, with the manifests that they wrote beside their objects.

What they have copied stays. The manifest goes first, since only the row says where it lies.
"""

import logging
from datetime import timedelta
from typing import Final

from controlplane.domain.data_copies import Copy, CopyState, manifest_key
from controlplane.domain.errors import PluginError, Unavailable, UserError
from controlplane.domain.ids import CopyId
from controlplane.domain.leases import Lease
from controlplane.operations.context import Context
from controlplane.operations.object_stores import located
from controlplane.storage.uris import ObjectUri, parse
from controlplane.store import Tx

BATCH: Final = 50
OBJECTS_BATCH: Final = 2000
"""Rows of objects that one transaction removes."""

log = logging.getLogger(__name__)


def prune(context: Context, lease: Lease, after: str) -> str | None:
    """Forgets the next few behind the id `after`. Returns the last one that was looked at; None: there are no more.

    Where a store does not answer, its copies stay for the next time.
    """
    with context.store.read() as tx:
        expiry = tx.now - timedelta(days=context.settings.retention_days)
        old = tx.copies.old(expiry, after, BATCH)
        needed = tx.copies.resumed_from([copy.source for copy in old])
    silent: set[tuple[str, str]] = set()
    for copy in (each for each in old if each.source not in needed):
        target = parse(copy.target)
        place = (str(target.kind), target.bucket)
        if place not in silent and not _is_without_manifest(context, copy, target):
            silent.add(place)
        if place not in silent:
            _forget(context, lease, copy.id)
    return old[-1].id if len(old) == BATCH else None


def _is_without_manifest(context: Context, copy: Copy, target: ObjectUri) -> bool:
    """It is deleted if there is one; False: the store cannot be asked now."""
    if copy.state is not CopyState.DONE or not copy.source.endswith("/"):
        return True
    try:
        with context.store.read() as tx:
            there = located(context, tx, target)
        there.store.delete(manifest_key(copy, there.key))
    except (PluginError, Unavailable) as problem:
        log.info("manifest.kept", extra={"copy": copy.id, "problem": problem.message})
        return False
    except UserError as problem:  # the store was taken off the list: what lies there is no longer ours
        log.info("manifest.left", extra={"copy": copy.id, "problem": problem.message})
    return True


def _forget(context: Context, lease: Lease, copy_id: CopyId) -> None:
    def unit(tx: Tx) -> bool:
        tx.leases.fence(lease)
        return tx.copies.forget(copy_id, OBJECTS_BATCH)

    while not context.store.write(unit):
        pass
