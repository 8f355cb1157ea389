"""Job specs: what a user may ask for. Stored verbatim with the schema's version."""

import re
from itertools import pairwise
from typing import Annotated, Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from controlplane.wire.base import MAX_INT, Moment, Name, Request

SCHEMA_VERSION = 1
"""Written beside every stored spec."""

MAX_TASKS = 4096
MAX_ROLES = 8
MAX_WORKING_DIR_BYTES = 256 * 1024**2
MAX_ENVIRONMENT_BYTES = 64 * 1024

FUNCTION = re.compile(r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*$")
_SIZE = re.compile(r"^(\d+(?:\.\d+)?)\s*(B|[KMGT]B|[KMGT]iB)?$")
_POWER = {"K": 1, "M": 2, "G": 3, "T": 4}
_ENV_NAME = re.compile(r"^[A-Za-z_][A-Za-z0-9_]*$")
_OBJECT_URI = re.compile(r"(file://|(s3|oss)://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9])/[^\0]*")
MAX_INPUTS = 64
MOST_INPUT_GIB = 1024**2
_RESERVED_ENVIRONMENT = ("CROSSDOCK_", "RAY_")

INFORMATIVE_FIELDS = ("labels",)
"""Stored and shown; no decision uses them yet, and `explain` says so."""

Quantity = Annotated[float, Field(ge=0, le=1_000_000)]
InputName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,62}$")]
Label = Annotated[str, Field(max_length=256)]


def parse_bytes(text: str) -> int:
    """Reads `1.5GiB`, `200MB`, `4096`. Raises `ValueError`."""
    match = _SIZE.match(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not a size; write for example 512MiB, 2GiB or a number of bytes")
    number, unit = float(match[1]), match[2] or "B"
    base = 1024 if unit.endswith("iB") else 1000
    size = number * base ** _POWER.get(unit[0], 0)
    if size > MAX_INT:  # also when it is too large for a float, which then is infinite
        raise ValueError(f"must be between 0 and {MAX_INT} bytes")
    return int(size)


def sane_environment(value: dict[str, str]) -> dict[str, str]:
    """Raises `ValueError`."""
    for name, text in value.items():
        if not _ENV_NAME.match(name) or "\0" in text:
            raise ValueError(f"{name!r} is not a valid variable name, or its value holds a NUL character")
        if name.startswith(_RESERVED_ENVIRONMENT):
            raise ValueError(
                f"{name} is reserved: names must not begin with {' or '.join(_RESERVED_ENVIRONMENT)}"
            )
    size = sum(len(name) + len(text.encode()) for name, text in value.items())
    if size > MAX_ENVIRONMENT_BYTES:
        raise ValueError(f"holds {size} bytes, the limit is {MAX_ENVIRONMENT_BYTES}")
    return value


class Resources(Request):
    """What one task needs."""

    cpus: Quantity = Field(default=1.0, description="CPU cores, in steps of 0.001.")
    memory: str | int = Field(default=0, description="Bytes, as a number or like `2GiB`; 0 = not accounted.")
    gpus: Quantity = Field(
        default=0.0, description="GPUs: a whole number, or a share below 1 in steps of 0.001 (milli-GPUs)."
    )
    accelerator: Annotated[str, Field(min_length=1, max_length=63)] | None = Field(
        default=None, description="Model that the node must carry, e.g. `A100`; none = any."
    )
    custom: dict[Name, Quantity] = Field(
        default_factory=dict, max_length=16, description="Custom resources of the cluster, in steps of 0.001."
    )

    @field_validator("memory")
    @classmethod
    def _memory_is_a_size(cls, value: str | int) -> str | int:
        size = parse_bytes(value) if isinstance(value, str) else value
        if not 0 <= size <= MAX_INT:
            raise ValueError(f"must be between 0 and {MAX_INT} bytes")
        return value

    @field_validator("cpus", "gpus")
    @classmethod
    def _in_thousandths(cls, value: float) -> float:
        return _thousandths(value)

    @field_validator("gpus")
    @classmethod
    def _whole_or_a_share(cls, value: float) -> float:
        if value > 1 and value != int(value):
            raise ValueError("above 1 GPU must be a whole number")
        return value

    @field_validator("custom")
    @classmethod
    def _custom_in_thousandths(cls, value: dict[str, float]) -> dict[str, float]:
        return {name: _thousandths(amount) for name, amount in value.items()}

    @model_validator(mode="after")
    def _needs_something(self) -> Self:
        if not (self.cpus or self.gpus or any(self.custom.values())):
            raise ValueError("a task must need some cpus, gpus or custom resource: all are 0")
        return self

    @property
    def memory_bytes(self) -> int:
        return parse_bytes(self.memory) if isinstance(self.memory, str) else self.memory


class Retry(Request):
    """When a failed attempt is followed by another. Preempted, evicted and lost attempts do not count."""

    max_attempts: int = Field(default=1, ge=1, le=100, description="Attempts in all, the first included.")
    backoff_seconds: float = Field(
        default=10.0,
        ge=0,
        le=86_400,
        description="Wait before the second attempt; doubles with each further one.",
    )
    max_backoff_seconds: float = Field(
        default=600.0, ge=0, le=86_400, description="Longest wait between attempts."
    )
    retryable_exit_codes: list[Annotated[int, Field(ge=1, le=255)]] = Field(
        default_factory=list, max_length=64, description="Codes worth another attempt; empty = all but 0."
    )


class TopologySlice(Request):
    """Consecutive tasks that stay together."""

    level: Name = Field(description="Level of which one domain holds the whole slice.")
    tasks: int = Field(ge=1, le=MAX_TASKS, description="How many tasks one slice has.")


class TopologyRequest(Request):
    """Where the tasks of a gang should be in relation to each other."""

    level: Name = Field(description="Level of the cluster's topology, e.g. `rack` or `node`.")
    required: bool = Field(
        default=True, description="False: as close together as possible, where one domain does not hold them."
    )
    balanced: bool = Field(
        default=False,
        description="Where one domain does not hold them: as many in each of the fewest domains that are enough.",
    )
    slices: list[TopologySlice] = Field(
        default_factory=list,
        max_length=4,
        description="Parts that stay together whatever becomes of the whole, the outermost first.",
    )

    @model_validator(mode="after")
    def _slices_nest(self) -> Self:
        for outer, inner in pairwise(self.slices):
            if outer.tasks % inner.tasks:
                raise ValueError(
                    f"a slice of {outer.tasks} tasks is not made of whole slices of {inner.tasks}"
                )
        if self.balanced and self.required:
            raise ValueError("balanced is for tasks in several domains: set required to false")
        return self


class Toleration(Request):
    """A taint that tasks may meet on their node."""

    key: Annotated[str, Field(min_length=1, max_length=253)]
    value: Annotated[str, Field(max_length=253)] = Field(default="*", description="`*` meets any value.")


class Role(Request):
    """Tasks of one gang that need the same."""

    name: Name = Field(description="Given to its tasks as CROSSDOCK_ROLE.")
    tasks: int = Field(default=1, ge=1, le=MAX_TASKS, description="How many tasks it has.")
    resources: Resources = Field(default_factory=Resources, description="Needs of one of them.")
    flavors: list[Name] = Field(
        default_factory=list,
        max_length=32,
        description="Kinds of capacity that it may use, in the order in which they are tried; empty = the job's. "
        "All its tasks sit on one of them.",
    )


class JobSpec(Request):
    """A job: work that ends."""

    name: Name = Field(description="Shown to people; need not be unique.")
    kind: Literal["training", "batch", "command", "replica"] = Field(
        default="command",
        description="What sort of work it is. `replica` is for services: refused when submitted.",
    )
    project: Name = Field(default="default", description="Tenant that the job belongs to.")
    queue: Name = Field(default="default", description="Queue of the project in which it waits.")
    priority: int = Field(default=0, ge=-1000, le=1000, description="Higher goes first.")
    entrypoint: Annotated[str, Field(min_length=1, max_length=32_768)] = Field(
        description="A shell command, or `package.module:function` (exactly that form, called without arguments)."
    )
    launch: Literal["tasks", "driver"] = Field(
        default="tasks",
        description="`tasks`: the entrypoint runs once per task (RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT are set). "
        "`driver`: it runs once and drives Ray itself on the booked nodes (Ray Train, Ray Data).",
    )
    working_dir: str | None = Field(
        default=None,
        pattern=r"^sha256:[0-9a-f]{64}$",
        description="Digest of an uploaded archive. SDK and CLI take a local folder and upload it once.",
    )
    environment: dict[str, str] = Field(
        default_factory=dict,
        max_length=256,
        description="Environment variables of the user's code. Not for secrets.",
    )
    tasks: int = Field(default=1, ge=1, le=MAX_TASKS, description="Size of the gang: all start, or none.")
    min_tasks: Annotated[int, Field(ge=1, le=MAX_TASKS)] | None = Field(
        default=None,
        description="Starts with as few as this when there is no room for `tasks`; none = all or nothing.",
    )
    resources: Resources = Field(default_factory=Resources, description="Needs of one task.")
    roles: list[Role] = Field(
        default_factory=list,
        max_length=MAX_ROLES,
        description="Parts of the gang that need different things, in the order of their ranks; instead of `tasks` and "
        "`resources`. `min_tasks` counts all tasks, and only the last role may have fewer.",
    )
    topology: TopologyRequest | None = Field(
        default=None, description="How close together the tasks must be."
    )
    tolerations: list[Toleration] = Field(
        default_factory=list, max_length=32, description="Taints of nodes that the tasks may meet."
    )
    flavors: list[Name] = Field(
        default_factory=list,
        max_length=32,
        description="Kinds of capacity that it may use, in the order in which they are tried; empty = all.",
    )
    retry: Retry = Field(default_factory=Retry, description="Whether failures are tried again.")
    max_runtime_seconds: float | None = Field(
        default=None,
        gt=0,
        le=31_536_000,
        description="An attempt that runs longer is stopped and the job fails.",
    )
    grace_seconds: float = Field(
        default=30.0,
        ge=0,
        le=3600,
        description="Between SIGTERM and SIGKILL when it is stopped: time to checkpoint.",
    )
    checkpoint_uri: Annotated[str, Field(max_length=2048)] | None = Field(
        default=None,
        description="Where checkpoints go: `file:///...`, `s3://...` or `oss://...`; given to the code as "
        "CROSSDOCK_CHECKPOINT_URI, in the store that is near where it runs if there is one.",
    )
    outputs_uri: Annotated[str, Field(max_length=2048)] | None = Field(
        default=None,
        description="Where results go: `file:///...`, `s3://...` or `oss://...`; given to the code as "
        "CROSSDOCK_OUTPUTS_URI.",
    )
    inputs: dict[InputName, Annotated[str, Field(max_length=2048)]] = Field(
        default_factory=dict,
        max_length=MAX_INPUTS,
        description="What it reads, by name: `s3://...`, `oss://...` or `file:///...`; one that ends with `/` is all "
        "below it. Given to the code as CROSSDOCK_INPUT_<NAME>; where a store is registered near the cluster, it is "
        "copied there first, and the variable names the copy.",
    )
    input_gib: dict[InputName, Annotated[float, Field(gt=0, le=MOST_INPUT_GIB)]] = Field(
        default_factory=dict,
        max_length=MAX_INPUTS,
        description="How large inputs are, by name, in GiB. What bringing them from another region costs counts where "
        "machines are bought.",
    )
    depends_on: list[Annotated[str, Field(min_length=1, max_length=63)]] = Field(
        default_factory=list,
        max_length=256,
        description="Ids of jobs that must succeed first; inside one batch also names of other jobs of the batch.",
    )
    labels: dict[Name, Label] = Field(
        default_factory=dict, max_length=64, description="Free text for people and filters."
    )
    surplus: bool = Field(
        default=False,
        description="Nice to have: placed after all other work, and the first to make room for it.",
    )
    restart_seconds: int | None = Field(
        default=None,
        ge=0,
        le=86_400,
        description="What a new start costs beside lost work (loading, compiling); none = a minute. "
        "Weighs in when it is asked to make room, grow or move.",
    )
    estimated_runtime_seconds: float | None = Field(
        default=None, gt=0, le=31_536_000, description="How long it should run, as far as its user knows."
    )
    deadline: Moment | None = Field(default=None, strict=False, description="When the result is needed.")

    @field_validator("entrypoint")
    @classmethod
    def _says_something(cls, value: str) -> str:
        if not value.strip() or "\0" in value:
            raise ValueError(
                "must be a shell command or module:function, not blank and without NUL characters"
            )
        return value

    @field_validator("environment")
    @classmethod
    def _environment_is_sane(cls, value: dict[str, str]) -> dict[str, str]:
        return sane_environment(value)

    @field_validator("inputs")
    @classmethod
    def _inputs_are_uris(cls, value: dict[str, str]) -> dict[str, str]:
        for name, uri in value.items():
            if not _OBJECT_URI.fullmatch(uri):
                raise ValueError(
                    f"{name} must be like s3://bucket/corpus/, oss://bucket/a.csv or file:///shared/a"
                )
        return value

    @field_validator("input_gib")
    @classmethod
    def _sizes_are_of_inputs(cls, value: dict[str, float], info: ValidationInfo) -> dict[str, float]:
        inputs = info.data.get("inputs")
        if inputs is not None and (unknown := sorted(value.keys() - inputs.keys())):
            known = ", ".join(sorted(inputs)) or "none"
            raise ValueError(f"{unknown[0]} is none of the job's inputs, which are: {known}")
        return value

    @field_validator("checkpoint_uri", "outputs_uri")
    @classmethod
    def _uri(cls, value: str | None) -> str | None:
        if value is not None and not _OBJECT_URI.fullmatch(value):
            raise ValueError("must be like file:///shared/run-1, s3://bucket/run-1 or oss://bucket/run-1")
        return value

    @model_validator(mode="after")
    def _roles_are_the_gang(self) -> Self:
        if not self.roles:
            return self
        if self.tasks not in (1, self.gang_size) or self.resources != Resources():
            raise ValueError(
                "roles say how many tasks there are and what they need: no tasks, no resources beside"
            )
        names = [role.name for role in self.roles]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"two roles are called {twice[0]!r}")
        if self.gang_size > MAX_TASKS:
            raise ValueError(f"roles have {self.gang_size} tasks in all, the limit is {MAX_TASKS}")
        fixed = self.gang_size - self.roles[-1].tasks
        if self.min_tasks is not None and self.min_tasks <= fixed:
            raise ValueError(
                f"min_tasks is {self.min_tasks}; only the last role {names[-1]!r} may have fewer tasks, "
                f"and needs one beside the {fixed} of the others"
            )
        return self

    @model_validator(mode="after")
    def _fewest_tasks_are_not_more(self) -> Self:
        if self.min_tasks is not None and self.min_tasks > self.gang_size:
            raise ValueError(f"min_tasks is {self.min_tasks}, more than tasks, which is {self.gang_size}")
        return self

    @property
    def gang_size(self) -> int:
        """Tasks of all roles."""
        return sum(role.tasks for role in self.roles) if self.roles else self.tasks

    @property
    def is_function(self) -> bool:
        return FUNCTION.match(self.entrypoint) is not None


def _thousandths(value: float) -> float:
    if round(value, 3) != value:
        raise ValueError("must be a multiple of 0.001")
    return value
