"""Nearness: which registered store is near a cluster, and may hold there what lies in another one."""

from collections.abc import Sequence

from controlplane.domain.data_copies import RegisteredStore
from controlplane.domain.errors import Invalid
from controlplane.domain.ids import ProjectId
from controlplane.domain.residency import Rules
from controlplane.operations.residency import kept_out
from controlplane.storage.uris import ObjectUri, covers, parse


def near(
    stores: Sequence[RegisteredStore], rules: Rules, project_id: ProjectId, cluster_name: str, uri: str
) -> str:
    """The same key in the store near the cluster; the URI itself where none is that may hold the project's data."""
    found = home_and_near(stores, rules, project_id, cluster_name, uri)
    if found is None:
        return uri
    home, close = found
    top = parse(home.uri).key.rstrip("/")
    return below(close, parse(uri).key.removeprefix(top).lstrip("/"))


def home_and_near(
    stores: Sequence[RegisteredStore], rules: Rules, project_id: ProjectId, cluster_name: str, uri: str
) -> tuple[RegisteredStore, RegisteredStore] | None:
    """The store where it lies, and the one near the cluster where it may lie too. None: it is read where it is."""
    homes = _homes(stores, uri)
    if not homes or any(cluster_name in each.near for each in homes):
        return None
    home = homes[-1]
    close = [
        each
        for each in stores
        if cluster_name in each.near and kept_out(rules, project_id, home, each) is None
    ]
    return (home, min(close, key=lambda each: each.name)) if close else None


def home(stores: Sequence[RegisteredStore], uri: str) -> RegisteredStore | None:
    """The store where it lies: of several that fit the one with the longest URI. None: no registered one."""
    homes = _homes(stores, uri)
    return homes[-1] if homes else None


def below(store: RegisteredStore, key: str) -> str:
    """URI of the key in that store."""
    there = parse(store.uri)
    joined = "/".join(part for part in (there.key.rstrip("/"), key) if part)
    return str(ObjectUri(kind=there.kind, bucket=there.bucket, key=joined))


def _homes(stores: Sequence[RegisteredStore], uri: str) -> list[RegisteredStore]:
    """Those with the longest URI last."""
    try:
        wanted = parse(uri)
    except Invalid:  # code may name its checkpoints in ways that no store of ours knows
        return []
    return sorted(
        (each for each in stores if covers(parse(each.uri), wanted)), key=lambda each: len(each.uri)
    )
