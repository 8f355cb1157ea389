"""Projects and queues: whose work it is, and where it waits."""

from dataclasses import dataclass
from datetime import datetime

from controlplane.domain.ids import ProjectId, QueueId

DEFAULT_PROJECT = "default"
DEFAULT_QUEUE = "default"


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """A tenant. `name` is unique."""

    id: ProjectId
    name: str
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """Where jobs of one project wait. `name` is unique inside the project."""

    id: QueueId
    project_id: ProjectId
    name: str
    created_at: datetime
