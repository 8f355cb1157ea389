"""The world: two replicas of each role, sites, users and operators; drawn from one seed, stepped by one thread."""

from collections.abc import Callable, Mapping
from typing import Final, TypeVar

from cloud_adapters.fake_cloud import FakeCloud
from controlplane.domain.claims import CapacityType
from controlplane.domain.errors import Gone, NotFound, Unavailable
from controlplane.executors.base import Order
from controlplane.identity.attempt_tokens import attempt_token
from controlplane.operations import records
from controlplane.operations.setting_up import set_up
from controlplane.storage.fake import FakeStore
from controlplane.wire.protocol import RecordAnswer, RecordBatch
from tests.sim.chance import Chance, Strike
from tests.sim.cloud import ZONES, CloudSite
from tests.sim.database import Crash, NoFaults, SimDatabase
from tests.sim.judge import Judge
from tests.sim.replicas import ApiReplica, CountingIds, LoopsReplica, services_of
from tests.sim.site import Site, Sites
from tests.sim.timeline import Timeline
from tests.sim.truth import Truth
from tests.sim.users import Operators, Users
from tests.sim.wrappers import Silence

S = TypeVar("S", bound=Site)

ACTORS: Final = {
    "scheduling": 14.0,
    "attempt": 26.0,
    "job": 16.0,
    "cluster": 6.0,
    "claim": 5.0,
    "orphan": 0.7,
    "sweep": 1.5,
    "retention": 0.7,
    "user": 14.0,
    "operator": 4.0,
    "nobody": 10.0,
}
PAUSES: Final = {"short": 0.75, "long": 0.2, "very long": 0.05}
LENGTHS: Final = {"short": (0.0, 0.5), "long": (0.5, 5.0), "very long": (5.0, 45.0)}
MOST_MACHINES: Final = 4
END_SECONDS: Final = 6 * 3600.0
CALM_ROUND_SECONDS: Final = 6.0
CALM_STRIDE_SECONDS: Final = 1200.0
QUIET_ROUNDS: Final = 60
"""Without an event; longer than anything that is under way keeps silent."""


class World:
    def __init__(self, seed: int, *, only: frozenset[Strike] | None = None) -> None:
        self.chance = Chance(seed, only=only)
        self.timeline = Timeline()
        self.truth = Truth()
        self.database = SimDatabase()
        self.objects = FakeStore()
        self.ids = CountingIds()
        self.story: list[str] = []
        self.steps = 0
        self.database_is_away = False
        self.cloud = FakeCloud(now=lambda: self.timeline.now)
        self.sky = self._site(CloudSite, "sky", 0)
        self.sites = Sites([self._site(Site, "east", 3), self._site(Site, "west", 2), self.sky])
        self.apis = [ApiReplica(self, f"api-{number}") for number in (1, 2)]
        self.loops = [LoopsReplica(self, f"loops-{number}") for number in (1, 2)]
        self.judge = Judge(self)
        self.users = Users(self)
        self.operators = Operators(self)
        self._depth = 0
        self._acting: set[str] = set()
        self._calm_rounds = self._quiet_rounds = 0
        self._begin()

    def step(self) -> None:
        """Time passes, something may break, somebody acts, and the judge looks."""
        self.steps += 1
        low, high = LENGTHS[self.chance.weighted("pause", PAUSES)]
        self.timeline.pass_seconds(self.chance.between("pause length", low, high))
        self._mishap()
        self.sky.follow(self.cloud)
        self._act(self.chance.weighted("actor", ACTORS))
        if self.steps % 50 == 0:
            self.judge.look_at_all()
        else:
            self.judge.look()

    def let_others_act(self) -> None:
        """In the middle of somebody's call: time passes, and the others go on. No deeper than this."""
        if self._depth > 0:
            return
        self._depth += 1
        try:
            self.timeline.pass_seconds(self.chance.pick("meanwhile", (0.0, 0.1, 2.0, 15.0, 50.0)))
            for _ in range(self.chance.whole("others", 1, 6)):
                self._act(self.chance.weighted("other actor", ACTORS))
        finally:
            self._depth -= 1

    def calm_down(self) -> None:
        """No more faults and no more wishes: everything is repaired, and runs on for hours."""
        self.chance.is_calm = True
        self.database_is_away = self.objects.is_away = False
        for site in self.sites.all:
            site.is_unreachable = site.is_cut_off = False
        for site in self._attached:
            while len(site.machines) < MOST_MACHINES:
                site.add_machine()
        self._heal_cloud()
        self.operators.repair()
        end = self.timeline.seconds + END_SECONDS
        while self.timeline.seconds < end:
            self.timeline.pass_seconds(self._until_something_is_due())
            self._calm_round()
        self.judge.look_at_the_end()

    def _until_something_is_due(self) -> float:
        """While jobs are under way; afterwards hours pass in strides."""
        if self.judge.is_all_ended() or self._quiet_rounds > QUIET_ROUNDS:
            return CALM_STRIDE_SECONDS
        due = self.timeline.next_in_seconds
        return CALM_ROUND_SECONDS if due is None else min(max(due, 0.5), CALM_ROUND_SECONDS)

    def _heal_cloud(self) -> None:
        self.cloud.cut_zones.clear()
        self.cloud.sold_out.clear()
        self.cloud.throttled_seconds = None
        self.cloud.partial = 0
        self.cloud.is_unreachable = False

    def _calm_round(self) -> None:
        self.sky.follow(self.cloud)
        self._calm_rounds += 1
        replica = self.loops[self._calm_rounds % len(self.loops)]
        whats = ("cluster", "claim", "orphan", "scheduling", "attempt", "job")
        # One sweep finds what was lost when replicas died. From then on nothing may depend on it any more.
        for what in ("sweep", *whats) if self._calm_rounds == 1 else whats:
            self._turn(replica, what)
        for (
            other
        ) in self.loops:  # a leader that is never asked loses its lease, and the next one knows everything
            if other is not replica:
                self._turn(other, "scheduling")
        before = self.judge.events
        self.judge.look()
        self._quiet_rounds = 0 if self.judge.events > before else self._quiet_rounds + 1
        if self._quiet_rounds == QUIET_ROUNDS:
            self.judge.look_at_who_waits()

    def tell(self, line: str) -> None:
        told = f"{self.steps:4d} {self.timeline.seconds:8.1f}  {line}"
        self.story.append(told)
        self.judge.note(told)

    def some_api(self, who: str) -> ApiReplica:
        number = self.chance.whole(f"api of {who}", 0, len(self.apis) - 1)
        if self.apis[number].way.is_dead:
            self.apis[number] = ApiReplica(self, self.apis[number].name)
        return self.apis[number]

    def ingest(self, order: Order, batch: RecordBatch) -> RecordAnswer | Silence:
        """A request of a wrapper that arrived at one of the api replicas."""
        api = self.some_api("wrapper")
        token = attempt_token(api.services.server_key, order.attempt_id)
        try:
            answer = records.ingest(api.services, order.attempt_id, token, batch)
        except Gone:
            return Silence.GONE
        except (Unavailable, NotFound, Crash):
            return Silence.NONE
        for record in batch.records:
            if record.kind == "exit" and record.fields["final"] and record.fields["reason"] == "completed":
                self.truth.told_success.add(order.job_id)
        return answer

    def _site(self, kind: type[S], name: str, machines: int) -> S:
        return kind(
            name,
            machines=machines,
            timeline=self.timeline,
            chance=self.chance,
            truth=self.truth,
            ingest=self.ingest,
        )

    def _begin(self) -> None:
        self.chance.is_calm = True
        set_up(services_of(self, NoFaults(), self.objects))
        for site in self.sites.all:
            self.operators.attach(site.name)
        for replica in self.loops:
            replica.boot()
        self.chance.is_calm = False

    def _act(self, actor: str) -> None:
        if self.chance.is_calm and actor in ("user", "operator", "sweep"):
            return
        match actor:
            case "user":
                self.users.wish()
            case "operator":
                self.operators.word()
            case "nobody":
                pass
            case what:
                ready = [replica for replica in self.loops if replica.is_up]
                if ready:
                    self._turn(self.chance.pick("replica", ready), what)

    def _turn(self, replica: LoopsReplica, what: str) -> None:
        if replica.name in self._acting:
            return  # it is in the middle of a call
        if not replica.is_up:
            self._reboot(replica)
            return
        self._acting.add(replica.name)
        try:
            replica.turn(what)
        except Crash:
            self._crash(replica)
        finally:
            self._acting.discard(replica.name)

    def _crash(self, replica: LoopsReplica) -> None:
        self.tell(f"{replica.name} died")
        replica.is_up = False
        seconds = self.chance.pick("restart", (0.5, 3.0, 20.0, 150.0))
        self.timeline.after(seconds, lambda: self._reboot(replica))

    def _reboot(self, replica: LoopsReplica) -> None:
        if replica.is_up:
            return
        try:
            replica.boot()
        except (Crash, Unavailable):
            self.timeline.after(2.0, lambda: self._reboot(replica))

    @property
    def _attached(self) -> tuple[Site, ...]:
        return tuple(site for site in self.sites.all if site is not self.sky)

    def _mishap(self) -> None:
        kind = self.chance.fault("mishap", {kind: probability for kind, (probability, _) in MISHAPS.items()})
        if kind is None:
            return
        site = self.chance.pick("mishap at", self.sites.all if kind in EVERYWHERE else self._attached)
        seconds = self.chance.between("mishap lasts", 2.0, 90.0)
        self.tell(f"{kind}: {site.name} {seconds:.0f} s")
        MISHAPS[kind][1](self, site, seconds)

    def _lose_machine(self, site: Site, _seconds: float) -> None:
        if site.machines:
            site.lose_machine(self.chance.pick("mishap machine", sorted(site.machines)))

    def _add_machine(self, site: Site, _seconds: float) -> None:
        if len(site.machines) < MOST_MACHINES:
            site.add_machine()

    def _restart(self, site: Site, _seconds: float) -> None:
        site.restart()

    def _hide(self, site: Site, seconds: float) -> None:
        site.is_unreachable = True
        self.timeline.after(seconds, lambda: setattr(site, "is_unreachable", False))

    def _cut_off(self, site: Site, seconds: float) -> None:
        """Longer than a lease, more often than not."""
        site.is_cut_off = True
        self.timeline.after(2 * seconds, lambda: setattr(site, "is_cut_off", False))

    def _kill_wrapper(self, site: Site, _seconds: float) -> None:
        if running := site.running_wrappers():
            self.chance.pick("mishap wrapper", running).die()

    def _take_database_away(self, _site: Site, seconds: float) -> None:
        self.database_is_away = True
        self.timeline.after(min(seconds, 20.0), lambda: setattr(self, "database_is_away", False))

    def _take_objects_away(self, _site: Site, seconds: float) -> None:
        self.objects.is_away = True
        self.timeline.after(seconds, lambda: setattr(self.objects, "is_away", False))

    def _reclaim(self, _site: Site, _seconds: float) -> None:
        """Spot machines first, but any machine may break."""
        sold = self.cloud.machines
        spot = [each for each in sold if each.capacity_type is CapacityType.SPOT] or list(sold)
        if spot:
            self.cloud.reclaim(self.chance.pick("reclaimed", spot).name)

    def _cut_zone(self, _site: Site, seconds: float) -> None:
        zone = self.chance.pick("cut zone", ZONES)
        self.cloud.cut_zones.add(zone)
        self.timeline.after(seconds, lambda: self.cloud.cut_zones.discard(zone))

    def _sell_out(self, _site: Site, seconds: float) -> None:
        offer = (self.chance.pick("sold type", ("small", "large")), self.chance.pick("sold zone", ZONES))
        self.cloud.sold_out.add(offer)
        self.timeline.after(5 * seconds, lambda: self.cloud.sold_out.discard(offer))

    def _throttle(self, _site: Site, seconds: float) -> None:
        self.cloud.throttled_seconds = 5.0
        self.timeline.after(seconds, lambda: setattr(self.cloud, "throttled_seconds", None))

    def _give_part(self, _site: Site, _seconds: float) -> None:
        self.cloud.partial += 1

    def _lag(self, _site: Site, _seconds: float) -> None:
        self.cloud.list_lag_seconds = self.chance.between("list lag", 0.0, 30.0)

    def _kill_replica(self, _site: Site, _seconds: float) -> None:
        self._crash(self.chance.pick("mishap replica", self.loops))


# Private methods of the class above: a table reads better than a match of ten cases.
MISHAPS: Final[Mapping[str, tuple[float, Callable[[World, Site, float], None]]]] = {
    "machine lost": (0.008, World._lose_machine),
    "machine added": (0.006, World._add_machine),
    "site restarts": (0.004, World._restart),
    "site unreachable": (0.006, World._hide),
    "site cut off": (0.012, World._cut_off),
    "wrapper killed": (0.01, World._kill_wrapper),
    "database away": (0.004, World._take_database_away),
    "objects away": (0.004, World._take_objects_away),
    "replica killed": (0.01, World._kill_replica),
    "machine reclaimed": (0.008, World._reclaim),
    "zone cut": (0.003, World._cut_zone),
    "sold out": (0.006, World._sell_out),
    "cloud throttles": (0.003, World._throttle),
    "gang sold in part": (0.004, World._give_part),
    "lists lag": (0.01, World._lag),
}
EVERYWHERE: Final = frozenset({"site unreachable", "site cut off", "wrapper killed"})
"""What happens at the cloud's site as well."""
