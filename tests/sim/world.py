"""The world: two replicas of each role, sites, users and operators; drawn from one seed, stepped by one thread."""

from typing import Final

from cloud_adapters.fake_cloud import FakeCloud
from controlplane.domain.clusters import Endpoint
from controlplane.domain.errors import Gone, NotFound, Unavailable
from controlplane.executors.base import Order
from controlplane.operations import machines, projects, records
from controlplane.operations.setting_up import set_up
from controlplane.storage.fake import FakeStore
from controlplane.wire.machines import CheckInAnswer, CheckInRequest
from controlplane.wire.protocol import RecordAnswer, RecordBatch
from tests.sim.builder import Ground
from tests.sim.chance import Chance, Strike
from tests.sim.cloud import Account, CloudSite
from tests.sim.database import Crash, NoFaults, SimDatabase
from tests.sim.fleet import Fleet
from tests.sim.judge import Judge
from tests.sim.mishaps import heal, strike
from tests.sim.replicas import ROOT, ApiReplica, CountingIds, LoopsReplica, context_of
from tests.sim.serving import Serving
from tests.sim.settings import SETTINGS
from tests.sim.sharing import Admins
from tests.sim.site import Site, Sites, Surroundings
from tests.sim.timeline import Timeline
from tests.sim.truth import Truth
from tests.sim.users import Operators, Users
from tests.sim.wrappers import Silence

ACTORS: Final = {
    "scheduling": 14.0,
    "attempt": 26.0,
    "job": 16.0,
    "cluster": 6.0,
    "claim": 5.0,
    "site": 3.0,
    "orphan": 0.7,
    "leftover": 0.5,
    "offer": 0.5,
    "sweep": 1.5,
    "retention": 0.7,
    "user": 14.0,
    "operator": 4.0,
    "admin": 1.2,
    "nobody": 10.0,
}
CALM_ACTORS: Final = ("cluster", "claim", "site", "orphan", "scheduling", "attempt", "job")
PAUSES: Final = {"short": 0.75, "long": 0.2, "very long": 0.05}
LENGTHS: Final = {"short": (0.0, 0.5), "long": (0.5, 5.0), "very long": (5.0, 45.0)}
END_SECONDS: Final = 6 * 3600.0
CALM_ROUND_SECONDS: Final = 6.0
CALM_STRIDE_SECONDS: Final = 2400.0
"""Three times within that in which machines have to be renewed: once each may have been met too early, or in vain."""

CALM_STEP_SECONDS: Final = 600.0
"""While jobs have ended and claims and sites still change."""

CALM_BOOT_SECONDS: Final = 60.0
"""While machines boot, which has to be done long before the time for it is over."""

CALM_MEETINGS: Final = 4
"""So many times as often replicas meet then, until all is at rest: nothing else repairs what a meeting broke."""

QUIET_SECONDS: Final = 360.0
"""Without an event; longer than anything that is under way keeps silent."""

QUIET_GROWTH: Final = 1.3
"""Of the rounds while nothing happens: what waits for a moment is met soon after it, and what waits for nothing costs
little."""


class World:
    def __init__(self, seed: int, *, only: frozenset[Strike] | None = None) -> None:
        self.chance = Chance(seed, only=only)
        self.timeline = Timeline()
        self.truth = Truth()
        self.database = SimDatabase()
        self.objects = FakeStore()
        self.artifacts = FakeStore()
        self.ids = CountingIds()
        self.story: list[str] = []
        self.steps = 0
        self.database_is_away = False
        self.cloud = FakeCloud(now=lambda: self.timeline.now)
        self.admins = Admins(self)
        self.apis = [ApiReplica(self, f"api-{number}") for number in (1, 2)]
        self.loops = [LoopsReplica(self, f"loops-{number}") for number in (1, 2)]
        self.judge = Judge(self)
        self.around = Surroundings(
            timeline=self.timeline,
            chance=self.chance,
            truth=self.truth,
            ingest=self.ingest,
            project_of=self.judge.project_of,
            artifacts=self.artifacts,
        )
        self.east = Site("east", self.around, machines=3)
        builds = self.chance.is_so("west builds", 0.5)
        self.west = (Ground if builds else Site)("west", self.around, machines=2)
        self._open_the_cloud()
        self.users = Users(self)
        self.operators = Operators(self)
        self.serving = Serving(self, context_of(self, NoFaults(), self.objects))
        self._depth = 0
        self._acting: set[str] = set()
        self._calm_rounds = 0
        self._quiet_since: float | None = None
        self._is_at_rest = False
        self._begin()

    def step(self) -> None:
        """Time passes, something may break, somebody acts, and the judge looks."""
        self.steps += 1
        low, high = LENGTHS[self.chance.weighted("pause", PAUSES)]
        self.timeline.pass_seconds(self.chance.between("pause length", low, high))
        strike(self)
        self._follow_the_clouds()
        self._act(self.chance.weighted("actor", ACTORS))
        self._act(self.serving.some_actor())
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
                self._act(self.serving.some_actor())
        finally:
            self._depth -= 1

    def calm_down(self) -> None:
        """No more faults and no more wishes: everything is repaired, and runs on for hours."""
        self.chance.is_calm = True
        self.database_is_away = self.objects.is_away = False
        heal(self)
        self.operators.repair()
        self.admins.repair()
        self.serving.calm_down()
        self.judge.promises.calm_since = self.timeline.now
        end = self.timeline.seconds + END_SECONDS
        while self.timeline.seconds < end:
            self._calm_round()
        self.judge.look_at_the_end()

    def _until_something_is_due(self) -> float:
        """While jobs are under way; afterwards hours pass in strides."""
        if self._is_quiet:
            if self.fleet is not None and self.fleet.is_forming:
                return CALM_BOOT_SECONDS
            return CALM_STEP_SECONDS if self._quiet_since is None else CALM_STRIDE_SECONDS
        longest = max(CALM_ROUND_SECONDS, (QUIET_GROWTH - 1) * self._quiet_seconds)
        due = self.timeline.next_in_seconds
        return longest if due is None else min(max(due, 0.5), longest)

    @property
    def _quiet_seconds(self) -> float:
        return 0.0 if self._quiet_since is None else self.timeline.seconds - self._quiet_since

    @property
    def _is_quiet(self) -> bool:
        return self.judge.is_all_ended() or self._is_at_rest

    def _calm_round(self) -> None:
        before = self.judge.events
        self.timeline.pass_seconds(self._until_something_is_due())
        self.judge.look()  # the round may clear away what was told before it
        self._follow_the_clouds()
        self._calm_rounds += 1
        self.chance.meetings = 1 if self._is_quiet else CALM_MEETINGS
        replica = self.loops[self._calm_rounds % len(self.loops)]
        # One sweep finds what was lost when replicas died. From then on nothing may depend on it any more.
        first = ("sweep",) if self._calm_rounds == 1 else ("leftover", "offer") if self._is_quiet else ()
        for what in (*first, *CALM_ACTORS, *self.serving.calm_actors):
            if what == "scheduling":
                self._schedule()
            elif not self.serving.act(what):
                self._turn(replica, what)
        self.judge.look()
        if self.judge.events > before:
            self._quiet_since, self._is_at_rest = None, False
        elif self._quiet_since is None:
            self._quiet_since = self.timeline.seconds
        if self._quiet_seconds > QUIET_SECONDS and not self._is_at_rest:
            self._is_at_rest = True
            self.judge.look_at_who_waits()

    def _schedule(self) -> None:
        """In one order: who leads goes on, and at the end all that its engine ever made of the feed is judged."""
        for replica in self.loops:
            self._turn(replica, "scheduling")

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
        try:
            answer = records.ingest(api.context, order.attempt_id, order.token, batch)
        except Gone:
            return Silence.GONE
        except (Unavailable, NotFound, Crash):
            return Silence.NONE
        for record in batch.records:
            if record.kind == "exit" and record.fields["final"] and record.fields["reason"] == "completed":
                self.truth.told_success.add(order.job_id)
        return answer

    def check_in(self, token: str, said: CheckInRequest) -> CheckInAnswer | Silence:
        """A word of a bought machine that arrived at one of the api replicas."""
        api = self.some_api("machine")
        try:
            answer = machines.check_in(api.context, token, said)
        except Gone:
            return Silence.GONE
        except (Unavailable, Crash):
            return Silence.NONE
        self.judge.purchases.admitted(said)
        return answer

    @property
    def ground(self) -> Ground | None:
        """The cluster that builds Ray clusters on its nodes, in the worlds that have one."""
        return self.west if isinstance(self.west, Ground) else None

    @property
    def own_rays(self) -> tuple[Site, ...]:
        """Ray clusters of one claim each."""
        formed = self.fleet.sites if self.fleet is not None else ()
        return (*formed, *(self.ground.sites if self.ground is not None else ()))

    def _open_the_cloud(self) -> None:
        """Machines that form Ray clusters of their own or, in some worlds, that join one."""
        self.cloud.leaves_disks = self.chance.is_so("disks stay", 0.5)
        self.cloud.lease_seconds = SETTINGS.dead_man_seconds if self.chance.is_so("leased", 0.5) else None
        self.sky: Site = CloudSite("sky", self.around)
        self.fleet: Fleet | None = None
        if self.chance.is_so("machines check in", 0.75):
            self.cloud.is_one_ray = False
            self.fleet = Fleet(self, self.cloud)
            self.sky = Account("sky", self.around, self.fleet)
        self.registered: tuple[Site, ...] = (self.east, self.west, self.sky)
        self.sites = Sites(self.registered, self._coming_and_going)

    def _coming_and_going(self, endpoint: Endpoint) -> Site | None:
        formed = self.fleet.at(endpoint) if self.fleet is not None else None
        return self.ground.at(endpoint) if formed is None and self.ground is not None else formed

    def _follow_the_clouds(self) -> None:
        if self.ground is not None:
            self.ground.follow()
        if self.fleet is not None:
            self.fleet.follow()
        elif isinstance(self.sky, CloudSite):
            self.sky.follow(self.cloud)

    def _begin(self) -> None:
        self.chance.is_calm = True
        context = context_of(self, NoFaults(), self.objects)
        set_up(context)
        projects.create_project(context, ROOT, "other")
        self.admins.plant(context)
        self.serving.plant(context)
        for site in self.registered:
            self.operators.attach(site.name)
        for replica in self.loops:
            replica.boot()
        self.chance.is_calm = False

    def _act(self, actor: str) -> None:
        if self.chance.is_calm and actor in ("user", "operator", "admin", "sweep", "deployer", "planner"):
            return
        if self.serving.act(actor):
            return
        match actor:
            case "user":
                self.users.wish()
            case "operator":
                self.operators.word()
            case "admin":
                self.admins.word()
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
            self.crash(replica)
        finally:
            self._acting.discard(replica.name)

    def crash(self, replica: LoopsReplica) -> None:
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
