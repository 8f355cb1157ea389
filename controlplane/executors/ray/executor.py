"""Attempts as Ray jobs: the submission id is the attempt id, the entrypoint is our wrapper.

Ray is not a queue here: the seats are booked before, drivers are pinned to a booked node (never the head), a gang's
other tasks join through a placement group that the wrapper makes on exactly the booked nodes.
"""

import io
import json
import math
import re
import time
import zipfile
from collections.abc import Callable, Sequence
from importlib.resources import files
from typing import Any, Final

from cloud_adapters.connections import Connections
from controlplane.domain.amounts import MILLI, Amounts
from controlplane.domain.clusters import Endpoint
from controlplane.domain.ids import AttemptId
from controlplane.executors.base import Launch, Observation, Order, OrderSeat, Phase
from controlplane.executors.ray.client import JobInfo, ListedJob, RayJobs

ENTRYPOINT: Final = "exec python -m crossdock_wrapper"  # a shell between would turn a kill into an exit code
STOP_MARGIN_SECONDS = 5
"""On top of the grace and of the time in which the wrapper tries to deliver its exit record."""

ATTEMPT_ID: Final = re.compile(r"job_\w+-a\d+")
"""What our ids look like: whatever runs under such a name was meant to pass for an attempt."""

EPOCH: Final = (1980, 1, 1, 0, 0, 0)


class RayExecutor:
    """The Executor port over Ray's Jobs API."""

    def __init__(self, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._clusters = Connections(RayJobs, monotonic=monotonic)
        self._wrapper = wrapper_package()

    def start(self, order: Order, *, deadline: float) -> str:
        with self._clusters.lent(order.endpoint) as jobs:
            return self._started(jobs, order, deadline)

    def _started(self, jobs: RayJobs, order: Order, deadline: float) -> str:
        session = jobs.session(deadline=deadline)
        runtime_env: dict[str, Any] = {  # JSON object of Ray's API
            "py_modules": [jobs.upload(self._wrapper, session=session, deadline=deadline)],
            "env_vars": {
                "CROSSDOCK_ORDER": json.dumps(order_document(order), separators=(",", ":")),
                "RAY_JOB_STOP_WAIT_TIME_S": str(_stop_seconds(order)),
            },
        }
        if order.working_dir is not None:
            runtime_env["working_dir"] = jobs.upload(order.working_dir, session=session, deadline=deadline)
        body = {"submission_id": order.attempt_id, "entrypoint": ENTRYPOINT, "runtime_env": runtime_env}
        jobs.submit(body | _driver_place(order), deadline=deadline)
        return session

    def stop(self, endpoint: Endpoint, attempt_id: AttemptId, *, deadline: float) -> None:
        with self._clusters.lent(endpoint) as jobs:
            jobs.stop(attempt_id, deadline=deadline)

    def observe(
        self, endpoint: Endpoint, attempt_ids: Sequence[AttemptId], *, deadline: float
    ) -> tuple[Observation, ...]:
        with self._clusters.lent(endpoint) as jobs:
            # Jobs first, session second: a head that restarts in between must not lend its new name to old answers.
            infos = [(attempt_id, jobs.info(attempt_id, deadline=deadline)) for attempt_id in attempt_ids]
            session = jobs.session(deadline=deadline)
        return tuple(observation(attempt_id, info, session) for attempt_id, info in infos)

    def listed(self, endpoint: Endpoint, *, deadline: float) -> tuple[AttemptId, ...]:
        with self._clusters.lent(endpoint) as cluster:
            jobs = cluster.listed(deadline=deadline)
        return tuple(sorted(AttemptId(job.id) for job in jobs if _is_alive(job) and _is_attempt(job)))

    def close(self) -> None:
        """Closes the kept connections; nothing on the clusters changes."""
        self._clusters.close()


def observation(attempt_id: AttemptId, info: JobInfo | None, session: str) -> Observation:
    """Only an exit code of the wrapper itself is evidence that no task runs; Ray's FAILED alone is not."""
    if info is None:
        return Observation(
            attempt_id=attempt_id, phase=Phase.ABSENT, session=session, message="ray does not know it"
        )
    return Observation(
        attempt_id=attempt_id,
        phase=_phase(info),
        session=session,
        exit_code=info.exit_code,
        message=_message(info),
    )


def order_document(order: Order) -> dict[str, Any]:  # JSON object of docs/job-protocol.md
    return {
        "attempt_id": order.attempt_id,
        "job_id": order.job_id,
        "number": order.number,
        "urls": list(order.urls),
        "token": order.token,
        "launch": str(order.launch),
        "entrypoint": {"function": order.function} if order.function else {"command": order.command},
        "environment": dict(order.environment),
        "seats": [_seat(seat, order.endpoint.gpu_resource) for seat in order.seats],
        "lease_seconds": order.lease_seconds,
        "grace_seconds": order.grace_seconds,
        "start_timeout_seconds": order.start_timeout_seconds,
        "log_quota_bytes": order.log_quota_bytes,
        "checkpoint_uri": order.checkpoint_uri,
        "outputs_uri": order.outputs_uri,
        "resume_from": order.resume_from,
    }


def ray_resources(amounts: Amounts, gpu_resource: str) -> dict[str, float]:
    """In Ray's names: CPU, memory (bytes), the cluster's GPU resource, and custom ones as they are."""
    named = {
        "CPU": amounts.cpu_milli / MILLI,
        gpu_resource: amounts.gpu_milli / MILLI,
        "memory": float(amounts.memory_bytes),
        **{name: value / MILLI for name, value in amounts.custom_milli},
    }
    return {name: value for name, value in named.items() if value}


def wrapper_package() -> bytes:
    """The wrapper as an importable module in a zip; the same bytes every time, so every cluster gets it once."""
    source = files("controlplane.executors.ray").joinpath("wrapper.py").read_bytes()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(zipfile.ZipInfo("crossdock_wrapper.py", EPOCH), source)
    return buffer.getvalue()


def _stop_seconds(order: Order) -> int:
    """How long Ray leaves the wrapper alone after its SIGTERM, before it kills it."""
    delivery_seconds = max(order.lease_seconds, order.grace_seconds)
    return math.ceil(order.grace_seconds + delivery_seconds) + STOP_MARGIN_SECONDS


def _seat(seat: OrderSeat, gpu_resource: str) -> dict[str, Any]:  # JSON object
    written = {
        "rank": seat.rank,
        "node_id": seat.node_name,
        "resources": ray_resources(seat.amounts, gpu_resource),
    }
    return written if seat.role is None else written | {"role": seat.role}


def _driver_place(order: Order) -> dict[str, Any]:  # JSON object of Ray's API
    """A lone task is the driver and reserves its seat; otherwise the driver only sits on the first booked node."""
    place: dict[str, Any] = {"entrypoint_label_selector": {"ray.io/node-id": order.seats[0].node_name}}
    if order.launch is Launch.DRIVER or len(order.seats) > 1:
        return place
    resources = ray_resources(order.seats[0].amounts, order.endpoint.gpu_resource)
    place["entrypoint_num_cpus"] = resources.pop("CPU", 0)
    place["entrypoint_num_gpus"] = resources.pop("GPU", 0)
    if memory := resources.pop("memory", 0):
        place["entrypoint_memory"] = int(memory)
    return place | {"entrypoint_resources": resources}


def _phase(info: JobInfo) -> Phase:
    match info.state:
        case "PENDING":
            return Phase.PENDING
        case "RUNNING":
            return Phase.RUNNING
        case "SUCCEEDED":
            return Phase.EXITED
        case "FAILED" if info.exit_code is not None and info.exit_code > 0:
            return Phase.EXITED
        case _:
            return Phase.DIED  # killed, or its supervisor is lost: tasks may still run until their lease ends


def _is_alive(job: ListedJob) -> bool:
    return job.state in ("PENDING", "RUNNING")


def _is_attempt(job: ListedJob) -> bool:
    """Others may use the cluster too."""
    return job.entrypoint == ENTRYPOINT or ATTEMPT_ID.fullmatch(job.id) is not None


def _message(info: JobInfo) -> str | None:
    if info.state in ("PENDING", "RUNNING", "SUCCEEDED"):
        return None
    return f"{info.error_type or info.state}: {(info.message or '').strip()[:500]}"
