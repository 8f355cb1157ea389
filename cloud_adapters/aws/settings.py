"""Settings of an account's cluster: from the pairs of its row to zones, images and limits. Pure."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from ipaddress import ip_network
from typing import Final
from urllib.parse import urlsplit

from cloud_adapters.base import ClusterRef, Rejected, is_loopback

REQUIRED: Final = ("regions", "subnets", "images", "machine_types")
SWITCH: Final = {"on": True, "off": False}

REGION: Final = re.compile(r"[a-z]{2}(-[a-z]+)+-\d")
ZONE: Final = re.compile(r"[a-z]{2}(-[a-z]+)+-\d(-[a-z]{3}-\d)?[a-z]")
MACHINE_TYPE: Final = re.compile(r"[a-z0-9-]+\.[a-z0-9-]+")
PLACED_TYPE: Final = re.compile(rf"{ZONE.pattern}/{MACHINE_TYPE.pattern}")
SUBNET: Final = re.compile(r"subnet-[0-9a-f]{8,17}")
IMAGE: Final = re.compile(r"ami-[0-9a-f]{8,17}")
SECURITY_GROUP: Final = re.compile(r"sg-[0-9a-f]{8,17}")
RESERVATION: Final = re.compile(r"cr-[0-9a-f]{8,17}")
PROFILE: Final = re.compile(r"arn:aws[a-z-]*:iam::\d{12}:instance-profile/[\w+=,.@/-]+")


SAFE_URL: Final = "a URL with https, or with http on loopback"


@dataclass(frozen=True, slots=True, kw_only=True)
class AwsSettings:
    regions: tuple[str, ...]
    subnets: Mapping[str, str]
    """By zone: machines are bought in these zones and no others."""

    images: Mapping[str, str]
    """By region, since an image's id is good in one region only."""

    machine_types: tuple[str, ...]
    """All that may be bought, sorted."""

    security_groups: Mapping[str, str]
    """By region. Where there is none, a group is made in which members reach each other."""

    ingress: Mapping[str, int]
    """Address range -> TCP port that a group of our making lets in."""

    reservations: Mapping[str, str]
    """`zone/type` -> the capacity reservation that reserved machines come from."""

    spot_max_prices: Mapping[str, Decimal]
    """By type, in US dollars an hour. Where there is none, the on-demand price is the limit."""

    instance_profile_arn: str | None
    disk_gib: int
    placement_groups: bool
    """Whether several machines with EFA are put close together, into one cluster placement group."""

    reserve_cpus: int
    reserve_memory_mib: int
    """Of each machine, kept from tasks: the system's and Ray's own."""

    endpoint_url: str | None

    def region_of(self, zone: str) -> str | None:
        """Of a zone or of a region itself; None where it is none of ours."""
        return next((region for region in self.regions if zone.startswith(region)), None)


def settings_of(cluster: ClusterRef) -> AwsSettings:
    """Raises `Rejected`, naming the setting, its value and what is allowed."""
    given = _Given(cluster)
    regions = given.names("regions", REGION, "names of regions")
    settings = AwsSettings(
        regions=regions,
        subnets=given.pairs("subnets", ZONE, SUBNET, "zone=subnet-id"),
        images=given.pairs("images", REGION, IMAGE, "region=ami-id"),
        machine_types=given.names("machine_types", MACHINE_TYPE, "names of instance types"),
        security_groups=given.pairs("security_groups", REGION, SECURITY_GROUP, "region=sg-id"),
        ingress=given.ingress(),
        reservations=given.pairs("reservations", PLACED_TYPE, RESERVATION, "zone/type=cr-id"),
        spot_max_prices=given.prices(),
        instance_profile_arn=given.matching(
            "instance_profile_arn", PROFILE, "the ARN of an instance profile"
        ),
        disk_gib=given.number("disk_gib", 100, (8, 16_384)),
        placement_groups=given.switch("placement_groups", default="on"),
        reserve_cpus=given.number("reserve_cpus", 0, (0, 64)),
        reserve_memory_mib=given.number("reserve_memory_mib", 0, (0, 1_048_576)),
        endpoint_url=given.url("endpoint_url"),
    )
    given.check_known()
    _check_places(given, settings)
    return settings


def is_safe_url(text: str) -> bool:
    """Off loopback a request is never sent in the clear."""
    parts = urlsplit(text)
    host = parts.hostname or ""
    return bool(host) and (parts.scheme == "https" or (parts.scheme == "http" and is_loopback(host)))


def _check_places(given: "_Given", settings: AwsSettings) -> None:
    """Every place that is named lies in a region that is named, and every region can be bought in."""
    for name in ("subnets", "reservations"):
        for place in getattr(settings, name):
            if settings.region_of(place) is None:
                raise given.refusal(name, place, f"in one of the regions {', '.join(settings.regions)}")
    for region in settings.regions:
        if region not in settings.images:
            raise given.refusal("images", given.text("images"), f"with an image for {region}")
        if not any(settings.region_of(zone) == region for zone in settings.subnets):
            raise given.refusal("subnets", given.text("subnets"), f"with a subnet for a zone of {region}")


class _Given:
    """The pairs of a cluster's row, read one by one."""

    def __init__(self, cluster: ClusterRef) -> None:
        self._cluster = cluster.name
        self._left = dict(cluster.settings)
        self._texts = dict(cluster.settings)
        if missing := [name for name in REQUIRED if not self._texts.get(name)]:
            raise Rejected(f"cluster {cluster.name} needs the settings {', '.join(missing)}")

    def refusal(self, name: str, value: str, limit: str) -> Rejected:
        return Rejected(f"setting {name} of cluster {self._cluster} must be {limit}, not {value!r}")

    def check_known(self) -> None:
        if self._left:
            raise Rejected(f"cluster {self._cluster} has unknown settings: {', '.join(sorted(self._left))}")

    def text(self, name: str) -> str:
        self._left.pop(name, None)
        return self._texts.get(name, "")

    def names(self, name: str, allowed: re.Pattern[str], limit: str) -> tuple[str, ...]:
        found = tuple(sorted({part.strip() for part in self.text(name).split(",")}))
        for each in found:
            if not allowed.fullmatch(each):
                raise self.refusal(name, each, f"{limit} with commas between them")
        return found

    def pairs(self, name: str, key: re.Pattern[str], value: re.Pattern[str], limit: str) -> Mapping[str, str]:
        return dict(
            self._parted(
                name, lambda left, right: bool(key.fullmatch(left) and value.fullmatch(right)), limit
            )
        )

    def prices(self) -> Mapping[str, Decimal]:
        limit = "type=dollars, above zero,"
        parted = self._parted("spot_max_prices", lambda left, _: bool(MACHINE_TYPE.fullmatch(left)), limit)
        return {left: self._price(left, right) for left, right in parted}

    def _price(self, machine_type: str, text: str) -> Decimal:
        try:
            price = Decimal(text)
        except InvalidOperation:
            price = Decimal(0)
        if not price.is_finite() or price <= 0:
            raise self.refusal("spot_max_prices", f"{machine_type}={text}", "type=dollars, above zero")
        return price

    def ingress(self) -> Mapping[str, int]:
        parted = self._parted(
            "ingress", lambda left, right: _is_range(left) and _is_port(right), "range=port"
        )
        return {left: int(right) for left, right in parted}

    def matching(self, name: str, allowed: re.Pattern[str], limit: str) -> str | None:
        text = self.text(name)
        if text and not allowed.fullmatch(text):
            raise self.refusal(name, text, limit)
        return text or None

    def number(self, name: str, default: int, limits: tuple[int, int]) -> int:
        text = self.text(name) or str(default)
        least, most = limits
        if not (text.isascii() and text.isdigit() and least <= int(text) <= most):
            raise self.refusal(name, text, f"a whole number from {least} to {most}")
        return int(text)

    def switch(self, name: str, *, default: str) -> bool:
        text = self.text(name) or default
        if text not in SWITCH:
            raise self.refusal(name, text, "on or off")
        return SWITCH[text]

    def url(self, name: str) -> str | None:
        text = self.text(name)
        if text and not is_safe_url(text):
            raise self.refusal(name, text, SAFE_URL)
        return text or None

    def _parted(
        self, name: str, is_allowed: Callable[[str, str], bool], limit: str
    ) -> tuple[tuple[str, str], ...]:
        found = {}
        for part in filter(None, (each.strip() for each in self.text(name).split(","))):
            left, _, right = part.partition("=")
            if not is_allowed(left, right) or left in found:
                raise self.refusal(name, part, f"{limit} pairs with commas between them, each key once")
            found[left] = right
        return tuple(sorted(found.items()))


def _is_range(text: str) -> bool:
    try:
        ip_network(text)
    except ValueError:
        return False
    return True


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdigit() and 0 < int(text) < 2**16
