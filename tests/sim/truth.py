"""Truth: what really runs where, which no replica can see. The books are measured against it."""

from dataclasses import dataclass, field
from typing import NamedTuple

from controlplane.domain.amounts import Amounts, total
from controlplane.domain.ids import AttemptId, JobId


class Violation(AssertionError):
    """A promise was broken; ends the run."""


class Running(NamedTuple):
    attempt_id: AttemptId
    rank: int
    job_id: JobId
    site: str
    machine: str
    amounts: Amounts


@dataclass(slots=True)
class Truth:
    running: dict[tuple[AttemptId, int], Running] = field(default_factory=dict)
    """User code at this moment."""

    starts: int = 0
    """Of user code, ever."""

    told_success: set[JobId] = field(default_factory=set)
    """Jobs whose completion the control plane has acknowledged: never to be run again."""

    acknowledged: dict[JobId, float] = field(default_factory=dict)
    """Jobs whose submit was answered, and when (seconds)."""

    uploaded: set[str] = field(default_factory=set)
    """Digests of all archives that somebody tried to upload."""

    announced: dict[AttemptId, str] = field(default_factory=dict)
    """Where replicas listen that said so, or tried to."""

    unready: set[AttemptId] = field(default_factory=set)
    """Replicas that said last, and were heard, that they are not ready."""

    gangs: dict[AttemptId, int] = field(default_factory=dict)
    """Of replicas: how many ranks have to run for them to answer."""

    makers: dict[str, JobId] = field(default_factory=dict)
    """Which job wrote below a place for outputs."""

    def begin(self, code: Running, room: Amounts) -> None:
        """User code starts; `room` is what its machine has."""
        others = {each.attempt_id for each in self.running.values() if each.job_id == code.job_id}
        if others - {code.attempt_id}:
            raise Violation(f"job {code.job_id} runs twice: attempt {code.attempt_id} beside {min(others)}")
        if (code.attempt_id, code.rank) in self.running:
            raise Violation(f"rank {code.rank} of attempt {code.attempt_id} runs twice")
        if code.job_id in self.told_success:
            raise Violation(f"job {code.job_id} runs again although its success was acknowledged")
        self.running[(code.attempt_id, code.rank)] = code
        self.starts += 1
        here = [each.amounts for each in self.running.values() if each[3:5] == code[3:5]]
        if not total(here).fits_in(room):
            raise Violation(f"machine {code.machine} of {code.site} runs more than it has: {total(here)}")

    def end(self, attempt_id: AttemptId, rank: int) -> None:
        self.running.pop((attempt_id, rank), None)

    def writes(self, outputs_uri: str, job_id: JobId) -> None:
        """Each try of each step has a place of its own."""
        if self.makers.setdefault(outputs_uri, job_id) != job_id:
            raise Violation(f"jobs {self.makers[outputs_uri]} and {job_id} both write below {outputs_uri}")

    def runs(self, attempt_id: AttemptId) -> bool:
        return any(each.attempt_id == attempt_id for each in self.running.values())

    def answers(self, attempt_id: AttemptId) -> bool:
        """Whether a replica does that listened: none of its ranks may be missing."""
        return all((attempt_id, rank) in self.running for rank in range(self.gangs[attempt_id]))
