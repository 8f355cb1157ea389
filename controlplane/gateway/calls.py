"""Calls: one request of a caller, admitted to a service, and what it may take."""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

from controlplane.domain.errors import Invalid, TooLarge
from controlplane.domain.ids import ProjectId
from controlplane.gateway.choosing import ALL_PPM
from controlplane.gateway.desk import Desk
from controlplane.gateway.directory import Directory
from controlplane.gateway.rates import Rates
from controlplane.gateway.refusals import TooMany

BEARER: Final = "Bearer "
TIMEOUT: Final = "x-request-timeout-seconds"


class Admits(Protocol):
    """Says who may call."""

    async def caller(self, secret: str | None, project_id: ProjectId) -> str:
        """The caller's name. Raises `Unauthenticated`, `Forbidden`, `NotFound` or `Unavailable`."""


@dataclass(slots=True, kw_only=True)
class Call:
    """Of one request, whatever it came over."""

    request_id: str
    desk: Desk
    caller: str
    draw_ppm: int
    began_at: float
    timeout_seconds: float
    is_strict: bool
    """The caller chose the timeout itself, so not even waking the service up may take longer."""

    deadline: float = 0.0
    tries: int = 0
    """Replicas that were asked."""

    waited_seconds: float = 0.0
    woken_seconds: float = 0.0
    """Of these, those that the deadline was put off by."""

    revision: int | None = None
    """That answered."""

    def __post_init__(self) -> None:
        self.deadline = self.began_at + self.timeout_seconds

    def check_size(self, size_bytes: int) -> None:
        """Raises `TooLarge`."""
        limit = self.desk.route.limits.request_bytes
        if size_bytes > limit:
            raise TooLarge(f"is larger than {limit} bytes", field="body", value=size_bytes, limit=limit)


@dataclass(slots=True, kw_only=True)
class Door:
    """Lets requests in, or says why not; the same one for HTTP and gRPC."""

    directory: Directory
    admits: Admits
    clock: Callable[[], float]
    draw: Callable[[], int] = lambda: random.randrange(ALL_PPM)  # noqa: S311 - no secret is drawn
    _rates: dict[str, Rates] = field(default_factory=dict)

    async def call(
        self, project: str, name: str, *, request_id: str, headers: Mapping[str, str], address: str
    ) -> Call:
        """`address` names a caller who has no token. Raises `UserError` or `Unavailable`."""
        began_at = self.clock()
        desk = self.directory.desk(project, name)
        route = desk.route
        caller = address
        if not route.is_open:
            caller = await self.admits.caller(bearer(headers), route.project_id)
        self._check_rate(desk, caller)
        limit = route.limits.timeout_seconds
        wanted = timeout_of(headers.get(TIMEOUT), limit)
        return Call(
            request_id=request_id,
            desk=desk,
            caller=caller,
            draw_ppm=self.draw(),
            began_at=began_at,
            timeout_seconds=limit if wanted is None else wanted,
            is_strict=wanted is not None,
        )

    def forget_rates(self) -> None:
        """Of services that are gone."""
        known = {desk.route.service_id for desk in self.directory}
        for gone in self._rates.keys() - known:
            del self._rates[gone]

    def _check_rate(self, desk: Desk, caller: str) -> None:
        per_second = desk.route.limits.requests_per_second
        if per_second is None:
            return
        rates = self._rates.setdefault(desk.route.service_id, Rates())
        seconds = rates.wait_seconds(caller, per_second, self.clock())
        if seconds:
            raise TooMany(
                f"{desk.name} takes {per_second:g} requests a second of one caller",
                limit=per_second,
                retry_after_seconds=seconds,
            )


def bearer(headers: Mapping[str, str]) -> str | None:
    header = headers.get("authorization", "")
    return header.removeprefix(BEARER) if header.startswith(BEARER) else None


def timeout_of(text: str | None, limit_seconds: float) -> float | None:
    """What the caller asks for; None where nothing is said. Raises `Invalid`."""
    if text is None:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = float("nan")
    if not 0 < seconds <= limit_seconds:
        raise Invalid(
            f"must be above 0 and at most {limit_seconds:g} seconds",
            field=TIMEOUT,
            value=text,
            limit=limit_seconds,
        )
    return seconds
