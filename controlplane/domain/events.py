"""Events: what happened, in the order in which it was committed; the change feed that everyone follows."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from controlplane.domain.ids import ProjectId
from controlplane.domain.twins import quick


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Written in the same transaction as the row it speaks of."""

    kind: str
    """`<noun>.<past participle>`, e.g. `job.submitted`, `attempt.ended`."""

    subject: str
    """Id of the noun."""

    at: datetime
    project_id: ProjectId | None = None
    job_id: str | None = None
    """The job whose story this belongs to."""

    data: Mapping[str, object] = field(default_factory=dict)
    """JSON values only."""
