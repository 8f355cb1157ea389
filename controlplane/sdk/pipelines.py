"""Pipelines: submitted, watched, held up, tried again, and executed by the clock."""

import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import ValidationError

from controlplane.sdk.bodies import body
from controlplane.sdk.errors import Timeout, Unreachable, invalid_here
from controlplane.sdk.patience import Patience
from controlplane.sdk.transport import Transport, parse
from controlplane.sdk.uploads import Uploads
from controlplane.wire.base import Page
from controlplane.wire.pipelines import (
    ExecutionDocument,
    ExecutionSummary,
    PipelineSpec,
    ScheduleCreate,
    ScheduleDocument,
)

OVER: Final = frozenset({"succeeded", "failed", "cancelled"})
LOOK_EVERY_SECONDS: Final = 0.5
PATIENCE_SECONDS: Final = 300.0
"""How long a watch outlasts a server that does not answer."""

Spec = PipelineSpec | Mapping[str, Any]
"""A mapping is what a pipeline file holds: JSON values, checked like a PipelineSpec."""


class Pipelines:
    """Each submitted pipeline is an execution."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._uploads = Uploads(transport)

    def submit(self, pipeline: Spec, *, base: str | os.PathLike[str] = ".") -> ExecutionDocument:
        """Accepted means stored, with all its steps.

        In a mapping, `working_dir` of a step's job may name a local folder, relative to `base`; it is uploaded unless
        the server has it. Raises `Invalid` naming step, value and limit, and `BadFolder`.
        """
        text = self.ready(pipeline, base=base).model_dump_json(exclude_unset=True)
        return parse(ExecutionDocument, self._transport.post("/v1/executions", text))

    def list(self, *, project: str | None = None) -> Iterator[ExecutionSummary]:
        """Newest first, without steps and specs."""
        return self._transport.items("/v1/executions", Page[ExecutionSummary], params={"project": project})

    def get(self, execution_id: str) -> ExecutionDocument:
        return parse(ExecutionDocument, self._transport.get(f"/v1/executions/{execution_id}"))

    def watch(
        self,
        execution_id: str,
        *,
        timeout_seconds: float | None = None,
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> Iterator[ExecutionDocument]:
        """How far it is, again and again, until it is over; the last one says how it ended.

        Raises `Timeout`, and `Unreachable` when no server answered for `patience_seconds`.
        """
        ends_at = None if timeout_seconds is None else time.monotonic() + timeout_seconds
        patience = Patience(patience_seconds)
        while True:
            try:
                answer = self._transport.get(f"/v1/executions/{execution_id}", patience_seconds=0)
            except Unreachable as failure:
                patience.pause(failure)
                continue
            patience.reset()
            found = parse(ExecutionDocument, answer)
            yield found
            if found.state in OVER:
                return
            if ends_at is not None and time.monotonic() > ends_at:
                raise Timeout(f"execution {execution_id} is still {found.state}")
            time.sleep(LOOK_EVERY_SECONDS)

    def wait(self, execution_id: str, *, timeout_seconds: float | None = None) -> ExecutionDocument:
        """Returns when it is over, whatever came of it."""
        *_, last = self.watch(execution_id, timeout_seconds=timeout_seconds)
        return last

    def cancel(self, execution_id: str) -> ExecutionDocument:
        """Its jobs are cancelled, and what was not begun never is."""
        return self._told(execution_id, "cancel")

    def pause(self, execution_id: str) -> ExecutionDocument:
        """No step is begun until it is resumed; what runs goes on."""
        return self._told(execution_id, "pause")

    def resume(self, execution_id: str) -> ExecutionDocument:
        return self._told(execution_id, "resume")

    def retry(self, execution_id: str) -> ExecutionDocument:
        """A new execution of one that failed or was cancelled: what succeeded is taken if it is still there."""
        return self._told(execution_id, "retry")

    def ready(self, pipeline: Spec, *, base: str | os.PathLike[str] = ".") -> PipelineSpec:
        """Checked, with every local folder uploaded and named by its digest."""
        if isinstance(pipeline, PipelineSpec):
            return pipeline
        try:
            return PipelineSpec.model_validate(self._shipped(pipeline, Path(base)))
        except ValidationError as error:
            raise invalid_here(error) from error

    def _shipped(self, pipeline: Mapping[str, Any], base: Path) -> dict[str, Any]:
        """Leaves whatever is no pipeline to the check that follows."""
        steps, digests = pipeline.get("steps"), dict[str, str]()
        if not isinstance(steps, list):
            return dict(pipeline)
        shipped = []
        for step in steps:
            folder = _folder_of(step)
            if folder is None:
                shipped.append(step)
                continue
            if folder not in digests:
                digests[folder] = self._uploads.put(base / folder)
            shipped.append({**step, "job": {**step["job"], "working_dir": digests[folder]}})
        return {**pipeline, "steps": shipped}

    def _told(self, execution_id: str, what: str) -> ExecutionDocument:
        return parse(ExecutionDocument, self._transport.post(f"/v1/executions/{execution_id}/{what}"))


class Schedules:
    """A schedule's name is unique inside its pipeline's project."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._pipelines = Pipelines(transport)

    def add(
        self,
        name: str,
        pipeline: Spec,
        *,
        cron: str,
        zone: str = "UTC",
        overlap: Literal["skip", "queue"] = "skip",
        base: str | os.PathLike[str] = ".",
    ) -> ScheduleDocument:
        """Its executions have the rights of this client's token, and end with it."""
        ready = self._pipelines.ready(pipeline, base=base).model_dump(mode="json", exclude_unset=True)
        wanted = body(ScheduleCreate, name=name, cron=cron, zone=zone, overlap=overlap, pipeline=ready)
        return parse(ScheduleDocument, self._transport.post("/v1/schedules", wanted))

    def list(self, *, project: str | None = None) -> Iterator[ScheduleDocument]:
        return self._transport.items("/v1/schedules", Page[ScheduleDocument], params={"project": project})

    def get(self, name: str, *, project: str = "default") -> ScheduleDocument:
        return parse(ScheduleDocument, self._transport.get(f"/v1/schedules/{project}/{name}"))

    def pause(self, name: str, *, project: str = "default") -> ScheduleDocument:
        """Its ticks pass by; executions that it made go on."""
        return self._told(project, name, "pause")

    def resume(self, name: str, *, project: str = "default") -> ScheduleDocument:
        """From the next tick on."""
        return self._told(project, name, "resume")

    def remove(self, name: str, *, project: str = "default") -> ScheduleDocument:
        return self._told(project, name, "remove")

    def _told(self, project: str, name: str, what: str) -> ScheduleDocument:
        return parse(ScheduleDocument, self._transport.post(f"/v1/schedules/{project}/{name}/{what}"))


def _folder_of(step: Any) -> str | None:  # noqa: ANN401 - whatever the file holds
    job = step.get("job") if isinstance(step, dict) else None
    folder = job.get("working_dir") if isinstance(job, dict) else None
    return folder if isinstance(folder, str) and not folder.startswith("sha256:") else None
