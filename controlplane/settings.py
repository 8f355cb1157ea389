"""Settings: every knob of the server, typed, with its unit, read once at start."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Self, get_type_hints
from urllib.parse import urlsplit

from controlplane.domain.addresses import is_loopback
from controlplane.domain.errors import Invalid

PREFIX = "CROSSDOCK_"
CURRENCY = re.compile(r"[A-Z]{3}")
WORTH = re.compile(r"[0-9]{1,6}(\.[0-9]{1,6})?")
MAY_BE_ZERO = frozenset(f"CROSSDOCK_{each}_PORT" for each in ("TUNNEL", "GATEWAY", "GATEWAY_GRPC", "HAPROXY"))


def _default_home() -> Path:
    return Path.home() / ".crossdock"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Each field is read from the environment as CROSSDOCK_<NAME>."""

    home: Path
    """Folder of the embedded database, uploads, keys and the embedded cluster."""

    database_url: str
    """`sqlite:////absolute/path` or `postgresql://user@host/name`."""

    host: str = "127.0.0.1"
    port: int = 8042
    public_url: str = ""
    """Where attempts reach this server; empty: http://host:port."""

    gateway_port: int = 8043
    """Where, at the same host, services are called; 0: this server runs no gateway."""

    gateway_grpc_port: int = 8044
    """The same over gRPC; 0: not over gRPC."""

    haproxy_port: int = 0
    """Where HAProxy takes the callers of services in front of the gateway, at the same host; 0: no HAProxy."""

    gateway_public_url: str = ""
    """Where callers reach the gateway; empty: http://host:gateway_port."""

    policy: str = "fair"
    """Name of the scheduling policy that is installed: `fair`, or `priority` for one line without quotas."""

    lease_seconds: float = 60.0
    """A task that could not renew for this long ends itself."""

    clock_skew_seconds: float = 5.0
    """How far the clocks of server and nodes may drift apart during one lease."""

    unreachable_after_seconds: float = 30.0
    """A cluster that did not answer for this long is called unreachable."""

    start_timeout_seconds: float = 300.0
    """An attempt whose code did not start within this time is given up as never_started."""

    starts_in_flight: int = 4
    """Attempts that may be starting at once on one cluster."""

    log_quota_bytes: int = 64 * 1024**2
    """Output kept per task; the rest is dropped with a marker."""

    upload_limit_bytes: int = 256 * 1024**2
    publish_limit_bytes: int = 64 * 1024**3
    """Artifacts of one model version, together: publishing reads all of them once, to compare their checksums."""

    poll_seconds: float = 5.0
    """How often a live attempt or a cluster is looked at when nothing happens."""

    boot_timeout_seconds: float = 900.0
    """Bought machines that have not joined their Ray cluster by then are given back."""

    dead_man_seconds: float = 3600.0
    """A bought machine that could not reach this server for so long ends itself."""

    idle_seconds: float = 600.0
    """Machines that were bought for waiting jobs are given back when no task was on them for so long."""

    burst_on_unverified_prices: bool = False
    """Whether machines are bought at prices from a table that the provider has not confirmed."""

    exchange_rates: str = "CNY=0.14,EUR=1.16,USD=1"
    """What a unit of each currency is worth in one of them, to compare offers; costs and budgets keep their own."""

    min_runtime_seconds: float = 60.0
    """A job is not preempted before it has run for so long."""

    cloud_calls_per_second: float = 5.0
    """Calls to the cloud of one cluster, all loops together; a burst of four seconds' worth goes at once."""

    tunnel_port: int = 0
    """Where, on loopback, the tunnels of agents begin (docs/adr/0004-agents-dial-out.md); 0: agents are not let in."""

    leader_seconds: float = 10.0
    """Length of the scheduling loop's lease."""

    copy_part_bytes: int = 32 * 1024**2
    """Least size of the parts in which objects are copied; four are in memory at once. Larger ones go through files."""

    input_cache_days: float = 7.0
    """Inputs that were copied near the work are deleted when no job wanted them for so long. See docs/data.md."""

    input_cache_bytes: int = 1024**4
    """Kept in each store; beyond it what was not wanted for the longest time goes first."""

    retention_days: float = 90.0
    """Finished jobs are kept this long; then they go to the archive. See docs/retention.md."""

    event_days: float = 30.0
    """The change feed reaches back this far."""

    log_days: float = 30.0
    """Output of finished jobs is kept this long, if the jobs themselves are not archived before."""

    local_cluster: bool = True
    """Whether `server init` registers the embedded Ray cluster."""

    allow_loopback_clusters: bool = False
    """Whether clusters at this machine's own addresses may be registered though others use this server."""

    @classmethod
    def read(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """Raises `Invalid` naming the variable, its value and what was expected."""
        hints = get_type_hints(cls)
        given: dict[str, Any] = {
            each.name: _parse(
                PREFIX + each.name.upper(), environment[PREFIX + each.name.upper()], hints[each.name]
            )
            for each in fields(cls)
            if PREFIX + each.name.upper() in environment
        }
        home = Path(given.pop("home", _default_home())).expanduser().absolute()
        given.setdefault("database_url", f"sqlite:///{home / 'crossdock.db'}")
        settings = cls(home=home, **given)
        _refuse_open_door(settings)
        rates_of(settings.exchange_rates)
        return settings

    @property
    def url(self) -> str:
        return self.public_url or f"http://{self.host}:{self.port}"

    @property
    def gateway_url(self) -> str:
        return self.gateway_public_url or f"http://{self.host}:{self.haproxy_port or self.gateway_port}"

    @property
    def is_for_this_machine(self) -> bool:
        """Nobody else reaches the server, so nobody else reaches this machine through it."""
        public_host = urlsplit(self.public_url).hostname
        return is_loopback(self.host) and (public_host is None or is_loopback(public_host))


def rates_of(text: str) -> dict[str, int]:
    """From `CNY=0.14,USD=1` to millionths by currency. Raises `Invalid`."""
    name, rates = f"{PREFIX}EXCHANGE_RATES", dict[str, int]()
    for part in filter(None, (each.strip() for each in text.split(","))):
        currency, _, worth = part.partition("=")
        if not CURRENCY.fullmatch(currency) or not WORTH.fullmatch(worth) or not float(worth):
            raise Invalid(f"{name}: {part!r} is no pair such as CNY=0.14", field=name, value=text)
        rates[currency] = round(float(worth) * 1_000_000)
    return rates


def _refuse_open_door(settings: Settings) -> None:
    """Tokens must not cross a network in the clear: off loopback, something in front has to speak TLS."""
    if is_loopback(settings.host):
        return
    doors = {"PUBLIC_URL": settings.public_url}
    if settings.gateway_port:
        doors["GATEWAY_PUBLIC_URL"] = settings.gateway_public_url
    for name, url in doors.items():
        if not url.startswith("https://"):
            raise Invalid(
                f"{PREFIX}HOST={settings.host} is off loopback: set {PREFIX}{name} to the https:// address of the "
                "proxy that terminates TLS in front of it",
                field=f"{PREFIX}HOST",
                value=settings.host,
            )


def _parse(name: str, text: str, kind: type) -> object:
    try:
        if kind is bool:
            return {"1": True, "true": True, "0": False, "false": False}[text.lower()]
        value = kind(text)
    except (ValueError, KeyError) as error:
        raise Invalid(f"{name}={text!r} is not a valid {kind.__name__}", field=name, value=text) from error
    least = 0 if name in MAY_BE_ZERO else 1e-9
    if isinstance(value, int | float) and not least <= value < float("inf"):
        raise Invalid(f"{name}={text} must be above 0 and finite", field=name, value=text, limit=0)
    return value
