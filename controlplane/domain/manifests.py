"""Manifests: what is known of a model version, as the one text that is stored, signed and handed out."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, Final, NewType

from controlplane.domain.errors import Bug

FORMAT: Final = 1

Manifest = NewType("Manifest", str)
"""JSON with sorted keys and without spaces, so the same facts are the same text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """An object that was there with this size and content when the version was published."""

    name: str
    uri: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Lineage:
    """Where a version comes from. Nobody types it: all but the references is looked up."""

    job_id: str | None = None
    code: str | None = None
    """Digest of the archive that the job ran, `sha256:<hex>`."""

    checkpoint_step: int | None = None
    """Of the job's checkpoint that was published."""

    evaluation_job_id: str | None = None
    """The job whose metrics count before those of the first."""

    data_uri: str | None = None
    data_sha256: str | None = None
    """Of the object at `data_uri`, which for prepared data is the manifest that holds the hash of every shard."""

    parent: int | None = None
    """Number of the version of the same model that this one was made from."""

    parameters: Mapping[str, Any] = field(default_factory=dict)  # JSON values
    """The job's spec as it was submitted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    project: str
    model: str
    number: int
    created_at: datetime
    created_by: str
    """Name of the token."""

    artifacts: tuple[Artifact, ...]
    lineage: Lineage
    metrics: Mapping[str, float | None]
    """As they were last reported; None was no finite number."""


def manifest_of(facts: Facts) -> Manifest:
    said = {"format": FORMAT, **asdict(facts), "created_at": facts.created_at.isoformat()}
    return Manifest(json.dumps(said, sort_keys=True, separators=(",", ":"), allow_nan=False))


def facts_of(manifest: Manifest) -> Facts:
    """Raises `Bug` for a format that this release does not write."""
    said: dict[str, Any] = json.loads(manifest)
    if said.pop("format") != FORMAT:
        raise Bug(f"a manifest is not of format {FORMAT}")
    said["created_at"] = datetime.fromisoformat(said["created_at"])
    said["artifacts"] = tuple(Artifact(**each) for each in said["artifacts"])
    said["lineage"] = Lineage(**said["lineage"])
    return Facts(**said)
