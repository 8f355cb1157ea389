"""Settings of an account in one region: from the pairs of a cluster's row, and its secret, to values."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal, InvalidOperation
from functools import partial
from typing import Final

from cloud_adapters.base import ClusterRef, Rejected, is_loopback

REGION: Final = re.compile(r"[a-z]{2}(-[a-z0-9]+)+")
NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9._-]{0,127}")
ROLE: Final = re.compile(r"[A-Za-z0-9.-]{1,64}")
MACHINE_TYPE: Final = re.compile(r"ecs(\.[a-z0-9-]+){2,3}")
LEAST_DISK_GIB: Final = 20
MOST_DISK_GIB: Final = 2048


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    """Of a RAM user or, with a security token, of a role that somebody took on for a while."""

    access_key_id: str
    access_key_secret: str = field(repr=False)
    security_token: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """What opens the account."""

    region: str
    keys: Keys | None
    """None: the RAM role of the machine that we are on, or what the environment says."""

    endpoint: str | None = None
    """`host:port` on loopback, spoken to without TLS: a server of a test. None: the region's own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    access: Access
    vswitches: tuple[tuple[str, str], ...]
    """(zone, vSwitch), sorted: where machines may be bought, and into which network."""

    security_group_id: str
    image_id: str
    machine_types: tuple[str, ...] = ()
    """That may be bought, sorted; empty: those of the catalogue."""

    ram_role_name: str | None = None
    """Of the machines."""

    spot_price_limit: Decimal | None = None
    """For one machine and hour, in the account's currency. None: whatever the market asks."""

    disk_gib: int = 100
    disk_category: str = "cloud_essd"
    deployment_set_id: str | None = None
    hpc_cluster_id: str | None = None
    private_pool_id: str | None = None
    """Capacity that is reserved for us; machines of the capacity type `reserved` come from it."""

    @property
    def zones(self) -> tuple[str, ...]:
        return tuple(zone for zone, _ in self.vswitches)


def settings_of(cluster: ClusterRef) -> Settings:
    """Raises `Rejected`, which names the setting and its value."""
    given = dict(cluster.settings)
    if unknown := sorted(given.keys() - _FORMS.keys()):
        raise Rejected(f"cluster {cluster.name} has unknown settings: {', '.join(unknown)}")
    if missing := sorted(name for name, form in _FORMS.items() if form.is_required and name not in given):
        raise Rejected(f"cluster {cluster.name} lacks the settings {', '.join(missing)}")
    values = {name: _value(name, text) for name, text in given.items()}
    keys = keys_of(cluster.secret, f"cluster {cluster.name}")
    access = Access(region=str(values.pop("region")), keys=keys, endpoint=_text(values.pop("endpoint", None)))
    # What the forms read has the type of the field that it is named after.
    return Settings(access=access, **values)  # type: ignore[arg-type]


def access_of(settings: Mapping[str, str], secret: str | None, whose: str) -> Access:
    """From the settings `region` and, on loopback, `endpoint`. Raises `Rejected`, which names the setting."""
    read = {name: _value(name, settings[name]) for name in ("region", "endpoint") if name in settings}
    return Access(
        region=str(read["region"]), keys=keys_of(secret, whose), endpoint=_text(read.get("endpoint"))
    )


def keys_of(secret: str | None, whose: str) -> Keys | None:
    """Raises `Rejected` without a word of what the secret says."""
    if secret is None:
        return None
    try:
        said = json.loads(secret)
    except json.JSONDecodeError:
        said = None
    wanted = {"access_key_id", "access_key_secret"}
    allowed = {*wanted, "security_token"}
    is_whole = isinstance(said, dict) and wanted <= said.keys() <= allowed
    if not is_whole or not all(isinstance(value, str) and value for value in said.values()):
        raise Rejected(
            f"the secret of {whose} must be a JSON object with access_key_id, access_key_secret and, "
            "for temporary keys, security_token"
        )
    return Keys(**said)


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _value(name: str, text: str) -> object:
    form = _FORMS[name]
    try:
        return form.read(text)
    except (ValueError, InvalidOperation) as problem:
        raise Rejected(f"setting {name} must be {form.words}, not {text!r}") from problem


def _matching(pattern: re.Pattern[str], text: str) -> str:
    if not pattern.fullmatch(text):
        raise ValueError(text)
    return text


def _vswitches(text: str) -> tuple[tuple[str, str], ...]:
    pairs = [part.strip().split("=") for part in text.split(",")]
    found = {_matching(REGION, zone): _matching(NAME, vswitch) for zone, vswitch in pairs}
    if len(found) != len(pairs):
        raise ValueError(text)
    return tuple(sorted(found.items()))


def _machine_types(text: str) -> tuple[str, ...]:
    return tuple(sorted({_matching(MACHINE_TYPE, part.strip()) for part in text.split(",")}))


def _price(text: str) -> Decimal:
    price = Decimal(text)
    if not price.is_finite() or price <= 0:
        raise ValueError(text)
    return price


def _disk_gib(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not LEAST_DISK_GIB <= int(text) <= MOST_DISK_GIB:
        raise ValueError(text)
    return int(text)


def _endpoint(text: str) -> str:
    host, _, port = text.rpartition(":")
    if not is_loopback(host) or not port.isascii() or not port.isdigit():
        raise ValueError(text)
    return text


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """How a setting is written."""

    read: Callable[[str], object]
    words: str
    is_required: bool = False


_ID: Final = Form(read=partial(_matching, NAME), words="an id or a name as the console shows it")
_FORMS: Final[Mapping[str, Form]] = {
    "region": Form(read=partial(_matching, REGION), words="a region such as cn-beijing", is_required=True),
    "vswitches": Form(
        read=_vswitches,
        words="zone=vSwitch pairs, each zone once, such as cn-beijing-h=vsw-1,cn-beijing-i=vsw-2",
        is_required=True,
    ),
    "security_group_id": replace(_ID, is_required=True),
    "image_id": replace(_ID, is_required=True),
    "machine_types": Form(
        read=_machine_types, words="machine types such as ecs.gn7i-c8g1.2xlarge, with commas between them"
    ),
    "ram_role_name": Form(read=partial(_matching, ROLE), words="the name of a RAM role"),
    "spot_price_limit": Form(read=_price, words="a price above 0, such as 12.5"),
    "disk_gib": Form(read=_disk_gib, words=f"a whole number from {LEAST_DISK_GIB} to {MOST_DISK_GIB}"),
    "disk_category": _ID,
    "deployment_set_id": _ID,
    "hpc_cluster_id": _ID,
    "private_pool_id": _ID,
    "endpoint": Form(read=_endpoint, words="host:port on loopback; for any other, leave it out"),
}
