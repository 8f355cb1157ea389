"""Programs: what runs on a bought machine from boot to end, as docs/machine-protocol.md promises it.

It checks in, becomes the head of its claim's Ray or joins it, says when it is about to be taken away, and ends the
machine itself when it is told to, when nobody hears it for too long, or when its Ray cannot be kept up.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from cloud_adapters.base import Boot, LaunchOrder
from cloud_adapters.fake_cloud import Sold
from controlplane.domain.amounts import Amounts
from controlplane.wire.machines import CheckInAnswer, CheckInRequest
from tests.sim.site import POSTS
from tests.sim.wrappers import STAMP, Silence

if TYPE_CHECKING:
    from tests.sim.fleet import Fleet
    from tests.sim.formed import FormedSite

BEATS: Final = (60.0, 180.0)
"""Seconds between two words of a machine that is up. It says them more often than that; most would change nothing."""

CALM_BEATS: Final = (900.0, 1400.0)
WAITS: Final = (3.0, 15.0)
MOST_STARTS: Final = 5
"""Of a Ray that does not stay up."""

Key = tuple[str, str | None, str | None]
"""Role, the head's address, Ray's token: when one of them changes, Ray ends and starts anew."""


class Program:
    def __init__(self, fleet: "Fleet", sold: Sold, order: LaunchOrder, boot: Boot, host: str) -> None:
        self.sold = sold
        self.order = order
        self.host = host
        self.is_alive = True
        self.is_mute = False
        """It hangs: Ray goes on, and the shutdown that it armed comes."""

        self.site: FormedSite | None = None
        """The Ray that it is a node of; for a head, its own."""

        self._fleet = fleet
        self._boot = boot
        self._chance = fleet.chance
        self._phase = "booting"
        self._notice: dict[str, str] | None = None
        self._problem: str | None = None
        self._key: Key | None = None
        self._starts = 0
        self._heard_at = fleet.timeline.seconds

    @property
    def name(self) -> str:
        return self.sold.name

    @property
    def size(self) -> Amounts:
        return self._fleet.cloud.machine_types[self.sold.machine_type]

    def begin(self) -> None:
        self._heard_at = self._now
        self._say_again()

    def warn(self) -> None:
        """The provider says that it will take the machine."""
        if self.is_alive:
            self._notice = {"kind": "spot", "at": STAMP}
            self._say()

    def lose(self) -> None:
        """The machine is gone, without a word."""
        self.is_alive = False
        if self.site is not None:
            self.site.leave(self)
            self.site = None

    def ray_ended(self) -> None:
        """Its head is gone, or does not know it any more."""
        self.site = None
        if self.is_alive:
            self._phase = "booting"
            self._start_later()

    def _say_again(self) -> None:
        """Says how it is, and will again: soon while it is not up."""
        if not self.is_alive:
            return
        answer = self._say()
        if not self.is_alive:
            return
        if answer is Silence.NONE and self._now - self._heard_at > self._boot.dead_man_seconds:
            self._fleet.end(self)
            return
        pauses = WAITS if self._phase != "up" else CALM_BEATS if self._chance.is_calm else BEATS
        low, high = (1.0, 30.0) if answer is Silence.NONE else pauses
        self._later("pause", low, high, self._say_again)

    def _say(self) -> CheckInAnswer | Silence:
        answer = self._post()
        if answer is Silence.GONE:
            self._fleet.end(self)
        elif isinstance(answer, CheckInAnswer):
            self._heard_at = self._now
            self._follow(answer)
        return answer

    def _post(self) -> CheckInAnswer | Silence:
        """One request, over a network that loses, repeats and delays."""
        if self.is_mute or self._fleet.hears_nothing_from(self):
            return Silence.NONE
        said = CheckInRequest.model_validate(self._words())
        match self._chance.fault(f"{self.name} network", POSTS):
            case "request lost":
                return Silence.NONE
            case "answer lost":
                self._fleet.deliver(self._boot, said)
                return Silence.NONE
            case "late":
                self._deliver_later(said)
                return Silence.NONE
            case "sent again later":
                self._deliver_later(said)
            case _:
                pass
        return self._fleet.deliver(self._boot, said)

    def _deliver_later(self, said: CheckInRequest) -> None:
        self._later("lateness", 0.5, 90.0, lambda: self._drop(self._fleet.deliver(self._boot, said)))

    @staticmethod
    def _drop(answer: CheckInAnswer | Silence) -> None:
        """Whoever asked has long given up."""

    def _words(self) -> dict[str, Any]:  # JSON
        return {
            "claim_id": self.sold.claim_id,
            "launch_id": self.sold.launch_id,
            "machine": self.name,
            "host": self.host,
            "phase": self._phase,
            "notice": self._notice,
            "problem": self._problem,
        }

    def _follow(self, answer: CheckInAnswer) -> None:
        if answer.role == "wait":
            return  # changes nothing on a machine that runs Ray already
        key = (answer.role, None if answer.role == "head" else answer.head_host, answer.ray_token)
        if key == self._key:
            return
        if self.site is not None:
            self.site.leave(self)
        self._key, self.site, self._phase, self._starts = key, None, "booting", 0
        self._start_later()

    def _start_later(self) -> None:
        key = self._key
        self._later("start of Ray", 1.0, 8.0, lambda: self._start(key))

    def _start(self, key: Key | None) -> None:
        if not self.is_alive or key is None or key != self._key or self.site is not None:
            return
        role, head_host, token = key
        if role == "head":
            self.site = self._fleet.found(self, token)
        elif (site := self._fleet.site_at(head_host)) is not None and site.token == token:
            self.site = site
        else:
            self._not_kept_up(key)
            return
        self.site.join(self)
        self._phase = "up"
        self._say()

    def _not_kept_up(self, key: Key) -> None:
        self._starts += 1
        if self._starts < MOST_STARTS:
            self._later("pause of Ray", 5.0, 30.0, lambda: self._start(key))
            return
        self._phase, self._problem = "leaving", "Ray could not be kept up"
        self._say()
        if self.is_alive:
            self._fleet.end(self)

    def _later(self, what: str, low: float, high: float, deed: Callable[[], None]) -> None:
        self._fleet.timeline.after(self._chance.between(f"{self.name} {what}", low, high), deed)

    @property
    def _now(self) -> float:
        return self._fleet.timeline.seconds
