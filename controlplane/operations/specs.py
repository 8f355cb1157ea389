"""Specs: what is read from a stored spec after its job was accepted."""

import json
from functools import lru_cache
from typing import cast

from controlplane.domain.errors import Bug
from controlplane.domain.ids import JobId
from controlplane.store import Tx
from controlplane.wire.jobspec import INFORMATIVE_FIELDS, JobSpec

DEFAULT_GRACE_SECONDS = cast("float", JobSpec.model_fields["grace_seconds"].default)

MOST_REMEMBERED = 256
"""Specs whose attempts report, again and again."""


def stored(tx: Tx, job_id: JobId) -> tuple[str, int]:
    """The spec as it was submitted, and the version of its schema."""
    spec = tx.jobs.spec(job_id)
    if spec is None:
        raise Bug(f"job {job_id} has no spec")
    return spec


@lru_cache(maxsize=MOST_REMEMBERED)
def grace_seconds(spec_json: str) -> float:
    """Between SIGTERM and SIGKILL, as the user asked for."""
    return float(json.loads(spec_json).get("grace_seconds", DEFAULT_GRACE_SECONDS))


def unused_fields(spec_json: str) -> list[str]:
    """Fields that the spec sets and no decision uses yet."""
    spec = json.loads(spec_json)
    return [name for name in INFORMATIVE_FIELDS if spec.get(name)]
