"""Object stores that the server may use: registered by an administrator, opened when a copy needs one."""

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from controlplane.domain.data_copies import RegisteredStore
from controlplane.domain.errors import Conflict, Forbidden, Invalid, NotFound, Unavailable
from controlplane.domain.events import Event
from controlplane.identity.policy import Action, authorize
from controlplane.identity.principals import Principal
from controlplane.operations import sources
from controlplane.operations.context import Context
from controlplane.operations.dialable import check_url
from controlplane.operations.endpoints import seal, unsealed
from controlplane.operations.idempotency import Once, write_once
from controlplane.storage.base import Credentials, ObjectInfo, ObjectStore, Place
from controlplane.storage.uris import Kind, ObjectUri, covers, parse
from controlplane.store import Tx
from controlplane.wire.data import StoreCreate

DEFAULT_REGIONS = {Kind.S3: "us-east-1", Kind.OSS: "cn-hangzhou", Kind.FILE: ""}


@dataclass(frozen=True, slots=True, kw_only=True)
class Located:
    """An object, or a prefix, in an open store."""

    store: ObjectStore
    key: str


def add(
    context: Context,
    principal: Principal,
    wanted: StoreCreate,
    *,
    once: Once[RegisteredStore] | None = None,
) -> RegisteredStore:
    """Raises `Invalid` for an endpoint that nobody may dial, `Conflict` for what is registered already."""
    authorize(principal, Action.EDIT_STORES)
    uri = parse(wanted.uri)
    _check(context, wanted, uri)

    def unit(tx: Tx) -> RegisteredStore:
        known = tx.object_stores.all()
        if any(each.name == wanted.name for each in known):
            raise Conflict(f"there is a store {wanted.name!r} already", field="name", value=wanted.name)
        if any(parse(each.uri) == uri for each in known):
            raise Conflict(f"{uri} is registered already", field="uri", value=wanted.uri)
        secret = wanted.secret.get_secret_value() if wanted.secret is not None else None
        store = RegisteredStore(
            name=wanted.name,
            uri=str(uri),
            region=wanted.region or DEFAULT_REGIONS[uri.kind],
            endpoint=wanted.endpoint,
            access_key_id=wanted.access_key_id,
            secret_id=seal(context, tx, secret) if secret is not None else None,
            created_at=tx.now,
            near=_near(tx, wanted),
        )
        tx.object_stores.add(store)
        sources.follow_stores(tx)
        tx.events.add(
            Event(
                kind="store.added",
                subject=store.name,
                at=tx.now,
                data={"uri": store.uri, "by": principal.name},
            )
        )
        return store

    return write_once(context.store, unit, once)


def listed(context: Context, principal: Principal) -> list[RegisteredStore]:
    """By name."""
    authorize(principal, Action.READ)
    with context.store.read() as tx:
        return tx.object_stores.all()


def remove(
    context: Context, principal: Principal, name: str, *, once: Once[RegisteredStore] | None = None
) -> RegisteredStore:
    """With its secret. Copies that still need it fail, and say so; what lay there binds nobody any more."""
    authorize(principal, Action.EDIT_STORES)

    def unit(tx: Tx) -> RegisteredStore:
        found = next((each for each in tx.object_stores.all() if each.name == name), None)
        if found is None:
            raise NotFound(f"there is no store {name!r}", field="store", value=name)
        tx.object_stores.remove(name)
        sources.follow_stores(tx)
        if found.secret_id is not None:
            tx.secrets.delete(found.secret_id)
        tx.events.add(Event(kind="store.removed", subject=name, at=tx.now, data={"by": principal.name}))
        return found

    return write_once(context.store, unit, once)


def registered_for(tx: Tx, uri: ObjectUri) -> RegisteredStore:
    """The one with the longest prefix. Raises `Forbidden` with what would have to be registered."""
    found = [each for each in tx.object_stores.all() if covers(parse(each.uri), uri)]
    if not found:
        top = f"{uri.kind}://{uri.bucket}" if uri.bucket else f"{uri.kind}:///{uri.key.partition('/')[0]}"
        raise Forbidden(
            f"{uri} is in no registered store: an administrator registers one with"
            f" `crossdock stores add NAME {top}`",
            field="uri",
            value=str(uri),
        )
    return max(found, key=lambda each: len(each.uri))


def located(context: Context, tx: Tx, uri: ObjectUri) -> Located:
    """Opens the store that holds it. Raises `Forbidden`, or `Unsealable` under another master key."""
    registered = registered_for(tx, uri)
    top = parse(registered.uri)
    key = uri.key.removeprefix(top.key).lstrip("/") if top.kind is Kind.FILE else uri.key
    return Located(store=_opened(context, tx, registered, top), key=key)


def ls(context: Context, principal: Principal, text: str, *, after: str, limit: int) -> list[ObjectInfo]:
    """What is below a prefix, by key, from behind the key `after`."""
    authorize(principal, Action.COPY)
    uri = parse(text)
    with context.store.read() as tx:
        place = located(context, tx, uri)
    found = []
    for info in place.store.entries(place.key, after=after):
        found.append(info)
        if len(found) == limit:
            break
    return found


def _opened(context: Context, tx: Tx, registered: RegisteredStore, top: ObjectUri) -> ObjectStore:
    if context.object_stores is None:
        raise Unavailable("this process opens no object stores")
    secret = unsealed(context, tx, registered.secret_id)
    credentials = (
        Credentials(access_key_id=registered.access_key_id, secret=secret)
        if registered.access_key_id is not None and secret is not None
        else None
    )
    place = Place(
        bucket=top.bucket, region=registered.region, endpoint=registered.endpoint, credentials=credentials
    )
    return context.object_stores(top.kind, place, Path("/") / top.key)


def _near(tx: Tx, wanted: StoreCreate) -> tuple[str, ...]:
    """One store for each cluster, so that nobody has to choose."""
    taken = {name: each.name for each in tx.object_stores.all() for name in each.near}
    for name in wanted.near:
        if tx.clusters.by_name(name) is None:
            raise NotFound(f"there is no cluster {name!r}", field="near", value=name)
        if name in taken:
            raise Conflict(f"store {taken[name]!r} is near cluster {name!r}", field="near", value=name)
    return tuple(sorted(set(wanted.near)))


def _check(context: Context, wanted: StoreCreate, uri: ObjectUri) -> None:
    if (wanted.access_key_id is None) != (wanted.secret is None):
        raise Invalid("an access key id and its secret come together", field="secret")
    if uri.kind is Kind.FILE:
        _check_folder(context, wanted, uri)
    elif wanted.endpoint is not None:
        _check_endpoint(context, wanted.endpoint)


def _check_folder(context: Context, wanted: StoreCreate, uri: ObjectUri) -> None:
    """Our own keys and database lie in the home."""
    if wanted.endpoint is not None or wanted.secret is not None:
        raise Invalid("a folder has neither endpoint nor secret", field="endpoint", value=wanted.endpoint)
    folder, home = (Path("/") / uri.key).resolve(), context.settings.home.resolve()
    if folder.is_relative_to(home) or home.is_relative_to(folder):
        raise Invalid("the server's own folder is no object store", field="uri", value=wanted.uri)


def _check_endpoint(context: Context, endpoint: str) -> None:
    check_url(context.settings, endpoint, field="endpoint")
    parts = urlsplit(endpoint)
    if parts.scheme not in {"http", "https"} or parts.path.strip("/") or parts.query or parts.fragment:
        raise Invalid("is https://host or https://host:port", field="endpoint", value=endpoint)
