"""Documents of models, their versions and gates."""

from dataclasses import asdict

from controlplane.domain.gates import Gate
from controlplane.operations.model_versions import VersionView
from controlplane.operations.models import ModelView
from controlplane.operations.signing import PublicKey
from controlplane.wire.models import (
    ArtifactDocument,
    GateDocument,
    LineageDocument,
    ManifestDocument,
    ModelDocument,
    PublicKeyDocument,
    VersionDocument,
)


def model(view: ModelView) -> ModelDocument:
    found = view.model
    return ModelDocument(
        id=found.id,
        project=view.project_name,
        name=found.name,
        description=found.description,
        created_at=found.created_at,
        versions=found.last_number,
        production=view.production,
        gates=[_gate(each) for each in view.gates],
        version=found.version,
    )


def version(view: VersionView) -> VersionDocument:
    found, facts = view.version, view.facts
    return VersionDocument(
        id=found.id,
        project=facts.project,
        model=facts.model,
        number=found.number,
        stage=found.state.value,
        since=found.since,
        promoted_at=found.promoted_at,
        created_at=found.created_at,
        created_by=facts.created_by,
        artifacts=[ArtifactDocument(**asdict(each)) for each in facts.artifacts],
        metrics=dict(facts.metrics),
        lineage=LineageDocument(**asdict(facts.lineage)),
        key_id=found.key_id,
        version=found.version,
    )


def manifest(view: VersionView) -> ManifestDocument:
    found = view.version
    return ManifestDocument(manifest=found.manifest, signature=found.signature, key_id=found.key_id)


def public_key(key: PublicKey) -> PublicKeyDocument:
    return PublicKeyDocument(key_id=key.key_id, public_key=key.pem)


def _gate(gate: Gate) -> GateDocument:
    return GateDocument(
        name=gate.name,
        metric=gate.metric,
        comparison=gate.comparison.value,
        limit=gate.limit,
        slack=gate.slack,
    )
