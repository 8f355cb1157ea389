"""Users and operators: what they ask for, through one of the api replicas, until they are answered."""

import hashlib
import io
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from controlplane.domain.clusters import ClusterState
from controlplane.domain.errors import Unavailable, UserError
from controlplane.domain.ids import JobId
from controlplane.domain.jobs import Job
from controlplane.operations import batches, bulk, claims, clusters, jobs, submission, uploads
from controlplane.operations.idempotency import Once, Replay
from controlplane.store import JobView
from controlplane.wire.admin import ClusterCreate
from controlplane.wire.jobspec import JobSpec
from tests.sim.archives import zip_of
from tests.sim.asking import Request, ask, once
from tests.sim.cloud import CAPACITY_TYPES, ZONES
from tests.sim.database import Crash
from tests.sim.replicas import ROOT, ApiReplica
from tests.sim.sharing import PROJECT

if TYPE_CHECKING:
    from tests.sim.world import World

Fields = dict[str, Any]  # of a JobSpec

WISHES: Final = {
    "upload": 0.7,
    "submit": 10.0,
    "gang": 4.0,
    "family": 1.5,
    "bulk": 0.7,
    "cancel": 4.0,
    "retry": 1.0,
}
WORDS: Final = {
    "request": 8.0,
    "release": 4.0,
    "keep": 1.5,
    "cordon": 2.0,
    "uncordon": 3.0,
    "drain": 1.5,
    "undrain": 3.0,
    "detach": 0.3,
    "attach": 1.0,
}
PROJECTS: Final = ("default", "default", "other")
OWNERS: Final = (None, None, *PROJECTS)
"""Of claims; None: all projects share them."""

MOST_CLAIMS: Final = 3
RECENT: Final = 10
"""Of the jobs known, those that a user still thinks of."""

MOST_OPEN: Final = 14
"""Unfinished jobs; whoever has that many waits before submitting more."""


class Users:
    def __init__(self, world: "World") -> None:
        self._world = world
        self._chance = world.chance
        self._submitted = 0
        self._known: list[JobId] = []
        self._uploads: list[str] = []

    def wish(self) -> None:
        kind = self._chance.weighted("wish", WISHES)
        match kind:
            case "cancel":
                self._about_a_job("cancel", jobs.cancel)
            case "upload":
                self._upload()
            case "retry":
                self._about_a_job("retry", jobs.retry)
            case _ if len(self._world.truth.acknowledged.keys() - self._world.judge.over) > MOST_OPEN:
                return
            case "family":
                self._submit_family()
            case "bulk":
                self._submit_bulk()
            case _:
                self._submit(self._fields(tasks=self._chance.whole("tasks", 2, 4) if kind == "gang" else 1))

    def _submit(self, fields: Fields) -> None:
        spec = JobSpec.model_validate(fields)
        text = spec.model_dump_json()
        key = once(fields["name"], lambda view: view.job.id)
        answered = self._acknowledge

        def request(api: ApiReplica) -> None:
            try:
                answered(submission.submit(api.context, ROOT, spec, text, once=key).job.id)
            except Replay as replay:
                answered(JobId(replay.remembered.body))

        self._ask(f"submit {fields['name']}", request)

    def _upload(self) -> None:
        archive = zip_of(f"print({self._chance.whole('archive', 1, 5)})")
        sha256 = hashlib.sha256(archive).hexdigest()

        self._world.truth.uploaded.add(f"sha256:{sha256}")

        def request(api: ApiReplica) -> None:
            row = uploads.accept(
                api.context, ROOT, io.BytesIO(archive), sha256=sha256, size_bytes=len(archive)
            )
            self._uploads.append(row.digest)

        self._ask("upload", request)

    def _submit_family(self) -> None:
        """Two parents and a child that waits for both."""
        made = [self._fields(tasks=1) for _ in range(3)]
        made[0]["project"] = made[1]["project"] = made[2]["project"]
        for fields in made:
            self._queue_up(fields)
        made[2]["depends_on"] = [made[0]["name"], made[1]["name"]]
        batch = [(spec, spec.model_dump_json()) for spec in map(JobSpec.model_validate, made)]
        key = once(made[0]["name"], lambda views: " ".join(view.job.id for view in views))

        def request(api: ApiReplica) -> None:
            try:
                ids = [view.job.id for view in batches.submit_many(api.context, ROOT, batch, once=key)]
            except Replay as replay:
                ids = [JobId(each) for each in replay.remembered.body.split()]
            for job_id in ids:
                self._acknowledge(job_id)

        self._ask(f"submit family {made[0]['name']}", request)

    def _submit_bulk(self) -> None:
        """Each by itself; one of them can never run."""
        made = [self._fields(tasks=1) for _ in range(4)]
        if self._chance.is_so("too large", 0.2):
            made[1]["resources"] = {
                "cpus": 1000.0
            }  # may wait for ever, where machines of any size may be bought
        else:
            made[1]["depends_on"] = ["job-of-nobody"]
        entries = [(spec, spec.model_dump_json()) for spec in map(JobSpec.model_validate, made)]
        key: Once[str] = once(made[0]["name"], str)

        def render(verdicts: Sequence[Job | UserError]) -> str:
            return " ".join("-" if isinstance(each, UserError) else each.id for each in verdicts)

        def request(api: ApiReplica) -> None:
            for part in bulk.submit_each(api.context, ROOT, entries, render, once=key):
                for job_id in part.split():
                    if job_id != "-":
                        self._acknowledge(JobId(job_id))

        self._ask(f"submit bulk {made[0]['name']}", request)

    def _about_a_job(self, verb: str, operation: Callable[..., JobView]) -> None:
        if not self._known:
            return
        job_id = self._chance.pick(verb, self._known[-RECENT:])
        key = once(f"{verb} {job_id} {self._world.steps}", lambda view: view.job.id)

        def request(api: ApiReplica) -> None:
            try:
                answered = operation(api.context, ROOT, job_id, once=key).job.id
            except Replay as replay:
                answered = JobId(replay.remembered.body)
            if answered != job_id:
                self._acknowledge(answered)

        self._ask(f"{verb} {job_id}", request)

    def _fields(self, *, tasks: int) -> Fields:
        self._submitted += 1
        chance = self._chance
        fields: Fields = {
            "name": f"job-{self._submitted}",
            "project": chance.pick("project", PROJECTS),
            "entrypoint": "true",
            "tasks": tasks,
            "priority": chance.whole("priority", 0, 2),
            "resources": {
                "cpus": chance.pick("cpus", (0.5, 1.0, 2.0)),
                "gpus": chance.pick("gpus", (0.0, 0.5, 1.0, 2.0)),
            },
            "retry": {
                "max_attempts": chance.whole("attempts", 1, 3),
                "backoff_seconds": chance.pick("backoff", (0.5, 5.0, 30.0)),
            },
            "grace_seconds": chance.pick("grace", (1.0, 5.0, 15.0)),
        }
        self._share(fields)
        if chance.is_so("has limit", 0.3):
            fields["max_runtime_seconds"] = chance.between("limit", 5.0, 80.0)
            if chance.is_so("hangs", 0.4):
                fields["environment"] = {**fields.get("environment", {}), "HANGS": "1"}
        if self._uploads and chance.is_so("has code", 0.3):
            fields["working_dir"] = chance.pick("code", self._uploads)
        if self._known and chance.is_so("depends", 0.15):
            fields["depends_on"] = [chance.pick("dependency", self._known)]
        return fields

    def _share(self, fields: Fields) -> None:
        """Says where it waits, how few tasks would do and how long it takes, in a world that shares by quotas."""
        chance, choice = self._chance, self._world.admins.choice
        if not choice.queues:
            return
        self._queue_up(fields)
        if fields["tasks"] > 1 and chance.is_so("is elastic", 0.4):
            fields["min_tasks"] = chance.whole("fewest", 1, fields["tasks"])
        if fields["tasks"] > 1 and chance.is_so("has roles", 0.3):
            self._split(fields)
        if chance.is_so("has estimate", 0.3):
            fields["estimated_runtime_seconds"] = chance.between("estimate", 5.0, 100.0)
        if choice.flavors and chance.is_so("is choosy", 0.1):
            fields["flavors"] = [chance.pick("flavor", choice.flavors)]
        if chance.is_so("saves", 0.4):
            fields["environment"] = {"SAVES": "1"}

    def _split(self, fields: Fields) -> None:
        """A head that needs no GPU, and the rest of the gang."""
        tasks, rest = fields.pop("tasks"), {"name": "rest", "resources": fields.pop("resources")}
        if self._world.admins.choice.flavors:
            rest["flavors"] = [self._chance.pick("flavor of a role", self._world.admins.choice.flavors)]
        fields["roles"] = [{"name": "head", "resources": {"cpus": 0.5}}, {**rest, "tasks": tasks - 1}]
        if "min_tasks" in fields:
            fields["min_tasks"] = max(2, fields["min_tasks"])

    def _queue_up(self, fields: Fields) -> None:
        """Another project has only the queue that every project has, which nobody limits."""
        queues = self._world.admins.choice.queues
        chosen = self._chance.pick("queue", queues or ("default",))
        fields["queue"] = chosen if fields["project"] == PROJECT else "default"

    def _acknowledge(self, job_id: JobId) -> None:
        if job_id not in self._world.truth.acknowledged:
            self._world.truth.acknowledged[job_id] = self._world.timeline.seconds
            self._known.append(job_id)

    def _ask(self, what: str, request: Request) -> None:
        ask(self._world, "user", what, request)


class Operators:
    """Register clusters and speak about them."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self._claims: list[str] = []

    def word(self) -> None:
        world = self._world
        site = world.chance.pick("word about", world.registered)
        kind = world.chance.weighted("word", WORDS)
        api = world.some_api("operator")
        try:
            self._say(kind, site.name, api)
        except (Unavailable, Crash, UserError) as problem:
            world.tell(f"operator: {kind} {site.name}: {type(problem).__name__}")
        else:
            world.tell(f"operator: {kind} {site.name}")

    def repair(self) -> None:
        """Every site is attached again and takes tasks."""
        api = self._world.some_api("operator")
        for site in self._world.registered:
            try:
                for kind in ("uncordon", "undrain"):
                    self._say(kind, site.name, api)
            except UserError:
                self.attach(site.name)

    def attach(self, name: str) -> None:
        site = next(site for site in self._world.registered if site.name == name)
        wanted = ClusterCreate(name=name, adapter=site.adapter, url=site.address)
        clusters.register(self._world.some_api("operator").context, ROOT, wanted)

    def _say(self, kind: str, name: str, api: ApiReplica) -> None:
        match kind:
            case "request":
                self._request(api)
            case "release" | "keep":
                self._about_a_claim(kind, api)
            case "attach":
                self.attach(name)
            case "detach":
                self._detach(name, api)
            case _:
                getattr(clusters, kind)(api.context, ROOT, name)

    def _request(self, api: ApiReplica) -> None:
        chance = self._world.chance
        if self._world.judge.live_claims() >= MOST_CLAIMS:
            return
        first = chance.whole("first zone", 0, len(ZONES) - 1)
        least = chance.whole("machines", 1, 2)
        wanted = claims.ClaimRequest(
            cluster=self._world.sky.name,
            machine_type=chance.pick("machine type", ("small", "large")),
            capacity_type=chance.pick("capacity type", CAPACITY_TYPES),
            zones=(*ZONES[first:], *ZONES[:first])[: chance.whole("zones", 1, len(ZONES))],
            machines_min=least,
            machines_want=least + chance.whole("more machines", 0, 1),
            project=chance.pick("whose", OWNERS),
            tries_again=chance.is_so("tries again", 0.7),
        )
        self._claims.append(claims.request(api.context, ROOT, wanted).claim.id)

    def _about_a_claim(self, kind: str, api: ApiReplica) -> None:
        if self._claims:
            operation = claims.release if kind == "release" else claims.keep
            operation(api.context, ROOT, self._world.chance.pick(kind, self._claims))

    def _detach(self, name: str, api: ApiReplica) -> None:
        """On a cluster that does not answer this is the operator's oath that nothing runs there: he keeps it."""
        view = clusters.get(api.context, ROOT, name)
        if view.cluster.state in (ClusterState.PENDING, ClusterState.UNREACHABLE):
            next(site for site in self._world.registered if site.name == name).restart()
        clusters.detach(api.context, ROOT, name)
