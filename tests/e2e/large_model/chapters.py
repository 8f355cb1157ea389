"""The chapters of the story, each of which finds what it tells or raises `Untrue`."""

import hashlib
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from controlplane.recipes.learning.data.text import GRAMMAR
from controlplane.recipes.learning.writing import Writer
from controlplane.sdk import Client, Job, JobSpec
from controlplane.storage.base import ObjectStore, Place
from controlplane.storage.oss import OssStore
from controlplane.storage.s3 import S3Store
from controlplane.wire.jobs import CheckpointDocument
from tests.e2e.large_model import training
from tests.e2e.large_model.asking import Caller
from tests.hypervisor.two_clouds import ALIBABA, AWS, OSS_TOP, S3_TOP, TwoClouds
from tests.recipe_attempts import RECIPES, Attempt

BOOT_SECONDS: Final = 900.0
"""Machines boot and form their Ray on a machine that others use as well."""

NOTICE_SECONDS: Final = 300.0
QUIET_SECONDS: Final = 300.0
NAME: Final = "writer"
BAND: Final = 1.8
"""Of the entropy of the text, which no loss can stay below: that of `test_recipe_strategies.py`."""

PROMPTS: Final = ("the old robot ", "every quiet ")
TOKENS: Final = 40


class Untrue(Exception):
    """Something was not as the story tells it."""


@dataclass(slots=True, kw_only=True)
class Story:
    clouds: TwoClouds
    client: Client
    reference: Attempt
    _job: Job | None = None

    @property
    def job(self) -> Job:
        if self._job is None:
            raise Untrue("nothing was submitted")
        return self._job

    def submit(self) -> None:
        spec = JobSpec.model_validate(training.spec(self.clouds))
        self._job = self.client.jobs.submit(spec, working_dir=RECIPES)

    def say(self, text: str) -> None:
        sys.stdout.write(f"   {text}\n")
        sys.stdout.flush()

    def check(self, is_so: bool, otherwise: str) -> None:  # noqa: FBT001 - reads as an assertion
        if not is_so:
            raise Untrue(otherwise)

    def until(self, condition: Callable[[], bool], seconds: float, otherwise: str) -> None:
        """Machines that have come meanwhile get the keys of their role."""

        def holds() -> bool:
            self.clouds.lend_keys()
            return condition()

        self.clouds.site.until(holds, seconds, otherwise)

    def saved(self, top: str) -> list[CheckpointDocument]:
        """The job's checkpoints below a URI, oldest first."""
        return [each for each in self.job.checkpoints() if each.uri.startswith(top)]

    def machines_of(self, job: Job) -> list[str]:
        """By rank, where the newest attempt has its seats."""
        return [seat.node for seat in sorted(job.attempts()[-1].seats, key=lambda seat: seat.rank)]


def chapters() -> Sequence[Callable[[Story], None]]:
    return (learn, be_told_to_go, follow, go_on, publish, serve, leave)


def learn(story: Story) -> None:
    """A transformer learns on two machines of the first cloud, each with half of its layers."""
    story.submit()
    story.say(f"job {story.job.id}: {training.RANKS} tasks, checkpoints in {S3_TOP}")

    def has_saved() -> bool:
        story.check(not story.job.refresh().is_finished, "\n".join(story.job.logs()))
        return story.saved(S3_TOP) != []

    story.until(has_saved, BOOT_SECONDS, "the first attempt must save")
    (attempt,) = story.job.attempts()
    machines = story.machines_of(story.job)
    story.check(attempt.cluster == "aws", f"it is on {attempt.cluster}: the cheaper cloud is aws")
    story.check(len(set(machines)) == training.RANKS, f"its tasks share a machine: {machines}")
    story.say(
        f"it learns at {attempt.cluster} on {', '.join(machines)}, and saved {story.saved(S3_TOP)[-1].uri}"
    )


def be_told_to_go(story: Story) -> None:
    """The cloud takes its machines back: every rank gets SIGTERM, finishes its step, and saves."""
    aws = story.clouds.site.accounts["aws"]
    for zone in aws.zones:
        aws.sell_out(zone)
    taken = aws.machines()
    for machine in taken:
        aws.reclaim(machine)
    story.until(lambda: story.job.attempts()[0].outcome is not None, NOTICE_SECONDS, "the attempt must end")
    for machine in taken:
        aws.take(machine)
    first = story.job.attempts()[0]
    story.check(first.outcome == "evicted", f"the first attempt is {first.outcome}: {first.reason}")
    last = story.saved(S3_TOP)[-1]
    for rank in range(training.RANKS):
        wanted = f"rank {rank} stopped after step {last.step} of "
        said = list(story.job.logs(attempt=1, rank=rank))
        story.check(any(line.startswith(wanted) for line in said), f"no rank said {wanted!r}: {said[-3:]}")
    story.say(f"both ranks stopped after step {last.step}, and {last.uri} is safe")


def follow(story: Story) -> None:
    """The checkpoint follows from S3 to OSS, before the job goes on at the other cloud."""
    source = story.saved(S3_TOP)[-1]
    target = source.uri.replace(S3_TOP, OSS_TOP)

    def is_there() -> bool:
        return [(each.state, each.source) for each in story.client.data.list()] == [("done", source.uri)]

    story.until(is_there, BOOT_SECONDS, "the checkpoint must be copied")
    (copy,) = story.client.data.list()
    story.check(copy.target == target and copy.rereads, f"it was copied to {copy.target}")
    found = [each.found for each in story.client.data.verify(copy.id)]
    story.check(found == ["whole"], f"the copy is {found}")
    digests = {digest(story, source.uri), digest(story, target), source.sha256 or ""}
    story.check(len(digests) == 1, f"the checkpoint and its copy differ: {digests}")
    story.say(f"{copy.size_bytes} bytes at {target}, sha256 {digests.pop()[:16]} at both ends")


def go_on(story: Story) -> None:
    """It goes on at the other cloud from the very step, and ends as if nothing had happened."""
    stopped = story.saved(S3_TOP)[-1].step
    story.until(lambda: story.job.refresh().is_finished, BOOT_SECONDS, "the job must end")
    attempts, said = story.job.attempts(), list(story.job.logs(attempt=2))
    outcomes = [(each.cluster, each.outcome) for each in attempts]
    wanted = [("aws", "evicted"), ("alibaba", "succeeded")]
    story.check(outcomes == wanted, f"{outcomes}\n" + "\n".join(said))
    for rank in range(training.RANKS):
        begun = [line for line in said if line.startswith(f"rank {rank} of {training.RANKS} trains on")]
        story.check(len(begun) == 1 and begun[0].endswith(f"from step {stopped}"), f"rank {rank}: {begun}")
    story.check(story.saved(OSS_TOP) != [], "it saved nothing at the other cloud")
    story.check(story.reference.ended() == 0, story.reference.log)
    learned, straight = losses(story.job), story.reference.losses()
    story.check(len(learned) == len(straight), f"{len(learned)} steps were reported, not {len(straight)}")
    story.check(learned == straight, "the losses differ from those of the undisturbed training")
    story.say(
        f"from step {stopped} to {len(learned)}: every loss is that of the undisturbed training,"
        f" {learned[stopped - 1]:.4f} before the move, {learned[stopped]:.4f} after it, {learned[-1]:.4f} at the end"
    )


def publish(story: Story) -> None:
    """The model is published with its lineage, and passes its gate."""
    models, entropy = story.client.models, GRAMMAR.nats_per_character()
    models.create(NAME)
    models.set_gate(NAME, "good", metric="held_out_loss", comparison="at_most", limit=BAND * entropy)
    weights = {"name": "model.pt", "uri": f"{training.RESULTS}/model.pt"}
    version = models.publish(NAME, job=story.job.id, artifacts=[weights])
    version = models.promote(NAME, version.number)
    (artifact,) = version.artifacts
    same = hashlib.sha256(story.reference.model).hexdigest()
    story.check(artifact.sha256 == same, "the weights differ from those of the undisturbed training")
    story.check(version.lineage.job_id == story.job.id, f"it comes from {version.lineage.job_id}")
    story.check((version.lineage.code or "").startswith("sha256:"), "its code is not known")
    story.check(version.stage == "production", f"it is {version.stage}")
    story.say(
        f"{NAME}@{version.number} in production: held-out loss {version.metrics['held_out_loss']:.4f},"
        f" entropy of the text {entropy:.4f}; its bytes are those of the undisturbed training's model"
    )


def serve(story: Story) -> None:
    """A replica of two tasks, each with half of the layers, answers over REST, events and gRPC."""
    service = story.client.services.deploy(
        {
            "name": NAME,
            "model": f"{NAME}@production",
            "import_path": "learning.writing:Writer",
            "tasks": training.RANKS,
            "resources": {"cpus": 0.5, "gpus": 1},
            "environment": {"OMP_NUM_THREADS": "1"},
            "release": {"bake_seconds": 0.0},
            "grace_seconds": 5.0,
        },
        working_dir=RECIPES,
    )
    caller = story_caller(story)

    def answers() -> bool:
        (revision,) = story.client.services.revisions(service.id)
        story.check(revision.state != "failed", f"the revision failed: {revision.reason}")
        return story.client.services.get(service.id).ready == 1 and caller.is_ready()

    story.until(
        answers,
        BOOT_SECONDS,
        "the replica must be ready",
    )
    (replica,) = story.client.services.replicas(service.id)
    machines = story.machines_of(story.client.jobs.get(replica.job_id))
    story.check(len(set(machines)) == training.RANKS, f"its tasks share a machine: {machines}")
    whole = Writer({"model.pt": str(Path(story.reference.folder) / "outputs" / "model.pt")})
    for prompt in PROMPTS:
        pieces = caller.by_events(prompt, TOKENS)
        said = {
            "one process": "".join(whole.generate(prompt, max_tokens=TOKENS, temperature=0.0)),
            "REST": caller.by_rest(prompt, TOKENS),
            "events": "".join(pieces),
            "gRPC": caller.by_grpc(prompt, TOKENS),
        }
        story.check(len(set(said.values())) == 1, f"the answers differ: {said}")
        story.check(len(pieces) == TOKENS, f"{len(pieces)} pieces came, not {TOKENS}")
        story.say(f"{prompt!r} -> {said['gRPC']!r}")
    story.say(
        f"REST, {TOKENS} events and gRPC say what one process says; its halves are on {', '.join(machines)}"
    )
    story.client.services.delete(service.id)


def leave(story: Story) -> None:
    """Everything is given back: the clouds hold nothing."""
    accounts = story.clouds.site.accounts
    story.until(
        lambda: story.client.services.by_name(NAME) is None, QUIET_SECONDS, "the service must be gone"
    )
    story.until(
        lambda: all(each.machines() == [] for each in accounts.values()),
        QUIET_SECONDS,
        "idle machines must go",
    )
    story.clouds.site.leave(story.client)
    story.say("no machine, no network, no key is left at either cloud")


def losses(job: Job) -> list[float]:
    """By step, over all attempts, in the order in which they were reported."""
    points = [each for each in job.metrics() if "loss" in each.values]
    steps = [each.step for each in points]
    if steps != list(range(1, len(steps) + 1)):
        raise Untrue(f"steps were left out or taken twice: {steps}")
    return [float(each.values["loss"] or 0.0) for each in points]


def digest(story: Story, uri: str) -> str:
    """SHA-256 of an object, read past the server."""
    kind, _, rest = uri.partition("://")
    bucket, _, key = rest.partition("/")
    store: ObjectStore
    if kind == "s3":
        store = S3Store(
            Place(bucket=bucket, region="us-east-1", endpoint=story.clouds.s3.url, credentials=AWS)
        )
    else:
        store = OssStore(
            Place(bucket=bucket, region="cn-hangzhou", endpoint=story.clouds.oss.url, credentials=ALIBABA)
        )
    with store.get(key) as content:
        return hashlib.sha256(content.read()).hexdigest()


def story_caller(story: Story) -> Caller:
    settings = story.clouds.site.server.settings
    return Caller(
        url=settings.gateway_url,
        grpc_address=f"127.0.0.1:{settings.gateway_grpc_port}",
        token=story.clouds.site.server.admin_token,
        service=NAME,
    )
