"""Jobs of a control plane: submitted, found, listed."""

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from pydantic import ValidationError
from pydantic_core import to_json

from controlplane.sdk.errors import invalid_here
from controlplane.sdk.job import Job
from controlplane.sdk.transport import Transport, parse
from controlplane.sdk.uploads import Uploads
from controlplane.wire.base import Page
from controlplane.wire.jobs import (
    JobBatch,
    JobBulkAnswer,
    JobCount,
    JobCounts,
    JobDocument,
    JobList,
    JobReceipt,
    JobRefusal,
    JobStateName,
)
from controlplane.wire.jobspec import JobSpec

Spec = JobSpec | Mapping[str, Any]
"""A mapping is what a job file holds: JSON values, checked like a JobSpec."""

Folder = str | os.PathLike[str]
Specs = list[JobSpec]
Handles = list[Job]
Counts = list[JobCount]
Answers = list[JobReceipt | JobRefusal]

BULK_PATIENCE_SECONDS: Final = 120.0
"""A server takes few bulk calls at once, and one that broke off goes on where it stopped."""


class Jobs:
    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._uploads = Uploads(transport)

    def submit(self, spec: Spec, *, working_dir: Folder | None = None) -> Job:
        """Accepted means stored: the job survives whatever happens to the server after that.

        `working_dir` is a local folder, uploaded unless the server has it already; the code starts in it.
        Raises `Invalid` for a spec that cannot be accepted and `BadFolder` for a folder that cannot be shipped.
        """
        (ready,) = self._ready([spec], working_dir)
        answer = self._transport.post("/v1/jobs", ready.model_dump_json(exclude_unset=True))
        return Job(self._transport, parse(JobDocument, answer))

    def submit_many(self, specs: Sequence[Spec], *, working_dir: Folder | None = None) -> Handles:
        """All are accepted or none; at most 1000. `depends_on` may name jobs of the same call.

        `working_dir` goes to every spec that names no archive of its own.
        """
        try:
            batch = JobBatch(jobs=self._ready(specs, working_dir))
        except ValidationError as error:
            raise invalid_here(error) from error
        answer = self._transport.post("/v1/jobs/batch", batch.model_dump_json(exclude_unset=True))
        return [Job(self._transport, document) for document in parse(JobList, answer).items]

    def submit_each(self, specs: Sequence[Spec], *, working_dir: Folder | None = None) -> Answers:
        """Each is accepted or refused by itself, and answered in its place; at most 10,000 and 16 MiB of JSON.

        `depends_on` names ids of jobs that exist. `working_dir` goes to every spec that names no archive of its own.
        """
        update = {} if working_dir is None else {"working_dir": self._uploads.put(working_dir)}
        texts = [_text(spec, update) for spec in specs]
        answer = self._transport.post(
            "/v1/jobs/bulk", f'{{"jobs":[{",".join(texts)}]}}', patience_seconds=BULK_PATIENCE_SECONDS
        )
        return parse(JobBulkAnswer, answer).items

    def get(self, job_id: str) -> Job:
        """Raises `NotFound`."""
        return Job(self._transport, parse(JobDocument, self._transport.get(f"/v1/jobs/{job_id}")))

    def list(
        self,
        *,
        project: str | None = None,
        queue: str | None = None,
        state: JobStateName | Sequence[JobStateName] | None = None,
        kind: str | None = None,
        name: str | None = None,
        label: tuple[str, str] | None = None,
    ) -> Iterator[Job]:
        """Newest first; further pages are asked for while you iterate."""
        states = (state,) if isinstance(state, str) else state
        params = {
            "project": project,
            "queue": queue,
            "state": states,
            "kind": kind,
            "name": name,
            "label": None if label is None else "=".join(label),
        }
        for document in self._transport.items("/v1/jobs", Page[JobDocument], params=params):
            yield Job(self._transport, document)

    def counts(
        self, *, project: str | None = None, queue: str | None = None, kind: str | None = None
    ) -> Counts:
        """By project, queue and state; what holds no job is left out. `queue` needs `project`.

        Replicas of services are counted with `kind="replica"` alone.
        """
        params = {"project": project, "queue": queue, "kind": kind}
        answer = self._transport.get("/v1/jobs/counts", params=params)
        return parse(JobCounts, answer).items

    def _ready(self, specs: Sequence[Spec], working_dir: Folder | None) -> Specs:
        checked = [_checked(spec) for spec in specs]
        if working_dir is None or all(spec.working_dir for spec in checked):
            return checked
        update = {"working_dir": self._uploads.put(working_dir)}
        return [spec if spec.working_dir else spec.model_copy(update=update) for spec in checked]


def _checked(spec: Spec) -> JobSpec:
    if isinstance(spec, JobSpec):
        return spec
    try:
        return JobSpec.model_validate(dict(spec))
    except ValidationError as error:
        raise invalid_here(error) from error


def _text(spec: Spec, update: Mapping[str, str]) -> str:
    """Unchecked: the server refuses a bad one alone."""
    given = spec.model_dump(mode="json", exclude_unset=True) if isinstance(spec, JobSpec) else dict(spec)
    return to_json(given if given.get("working_dir") else {**given, **update}).decode()
