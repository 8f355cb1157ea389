"""Deployments: makes services and their revisions, and takes revisions back or all the way."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from controlplane.domain.errors import Conflict, Invalid, NotFound
from controlplane.domain.ids import JobId, RevisionId, ServiceId
from controlplane.domain.models import Stage
from controlplane.domain.revisions import Revision, RevisionState
from controlplane.domain.services import Service
from controlplane.identity.policy import Action, authorize
from controlplane.identity.principals import Principal
from controlplane.operations import submission
from controlplane.operations.context import Context
from controlplane.operations.endpoints import seal
from controlplane.operations.idempotency import Once, write_once
from controlplane.operations.lookups import project_for, queue_for
from controlplane.operations.model_versions import VersionView
from controlplane.operations.model_versions import get as get_version
from controlplane.operations.models import ModelName
from controlplane.operations.service_specs import SERVER_NAME, stored
from controlplane.operations.services import ServiceView, service_for, view
from controlplane.operations.serving_packages import ENTRYPOINT, model_version, pack
from controlplane.operations.signing import vouched
from controlplane.operations.uploads import upload_key
from controlplane.secrets.certificates import ClaimAuthority, claim_authority
from controlplane.store import Tx
from controlplane.wire.jobspec import JobSpec, Retry
from controlplane.wire.servicespec import ServiceSpec

VALIDITY: Final = timedelta(days=5 * 365)
"""Of a revision's certificates: whoever runs one for longer deploys it again."""

REVISION: Final = "SERVING_REVISION"
"""The variable that tells the serving program the revision's number."""

RETRY: Final = Retry(max_attempts=5, backoff_seconds=1.0, max_backoff_seconds=30.0)
"""Of one replica: a crash of user code is followed by another attempt, a fifth one ends the replica."""

LONGEST_NAME: Final = 63


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kit:
    """All that a revision needs and that is made before its transaction."""

    spec: ServiceSpec
    spec_json: str
    package: str
    package_bytes: int
    reads: Mapping[str, str]
    """The files of its model."""

    authority: ClaimAuthority
    revision_id: RevisionId


def deploy(
    context: Context,
    principal: Principal,
    spec: ServiceSpec,
    spec_json: str,
    *,
    once: Once[ServiceView] | None = None,
    revision_id: RevisionId | None = None,
) -> ServiceView:
    """Makes a service with its first revision, under the id that is given. Raises before anything is kept."""
    authorize(principal, Action.DEPLOY)
    kit = _kit(context, principal, spec, spec_json, revision_id)
    service_id = ServiceId(context.ids.new("service"))

    def unit(tx: Tx) -> ServiceView:
        project = project_for(tx, principal, spec.project, Action.DEPLOY)
        queue = queue_for(tx, project, spec.queue)
        if tx.services.by_name(project.id, spec.name) is not None:
            raise Conflict(
                f"project {project.name!r} has a service {spec.name!r} already",
                field="name",
                value=spec.name,
            )
        service = Service(
            id=service_id,
            project_id=project.id,
            queue_id=queue.id,
            name=spec.name,
            created_at=tx.now,
            min_replicas=spec.replicas.min,
            max_replicas=spec.replicas.max,
            desired=max(1, spec.replicas.min),
            last_number=1,
        )
        tx.services.add(service, by=principal.name)
        _add_revision(context, tx, principal, service, kit)
        return view(tx, service)

    return write_once(context.store, unit, once)


def revise(
    context: Context,
    principal: Principal,
    service_id: str,
    spec: ServiceSpec,
    spec_json: str,
    *,
    once: Once[ServiceView] | None = None,
    revision_id: RevisionId | None = None,
) -> ServiceView:
    """Deploys the next revision of a service, which takes the traffic from the one that has it.

    Raises `Conflict` for a `revision_id` that is taken.
    """
    authorize(principal, Action.DEPLOY)
    kit = _kit(context, principal, spec, spec_json, revision_id)

    def unit(tx: Tx) -> ServiceView:
        return _revised(context, tx, principal, service_for(tx, principal, service_id, Action.DEPLOY), kit)

    return write_once(context.store, unit, once)


def roll_back(
    context: Context,
    principal: Principal,
    service_id: str,
    number: int | None,
    *,
    once: Once[ServiceView] | None = None,
) -> ServiceView:
    """Deploys an earlier revision again as the next one, with the version of the model that it served.

    Without a number, the newest earlier one that ever was ready.
    """
    authorize(principal, Action.DEPLOY)
    with context.store.read() as tx:
        service = service_for(tx, principal, service_id, Action.DEPLOY)
        old = _earlier(tx, service, number)
    kit = _kit(context, principal, *_again(context, service, old))

    def unit(tx: Tx) -> ServiceView:
        return _revised(context, tx, principal, service_for(tx, principal, service_id, Action.DEPLOY), kit)

    return write_once(context.store, unit, once)


def _revised(context: Context, tx: Tx, principal: Principal, service: Service, kit: _Kit) -> ServiceView:
    if service.is_leaving:
        raise Conflict(f"service {service.name!r} is being deleted", field="name", value=service.name)
    spec = kit.spec
    project = project_for(tx, principal, spec.project, Action.DEPLOY)
    if (project.id, spec.name) != (service.project_id, service.name):
        raise Invalid(
            "is the name of another service: revisions keep name and project",
            field="name",
            value=f"{spec.project}/{spec.name}",
            limit=service.name,
        )
    if queue_for(tx, project, spec.queue).id != service.queue_id:
        raise Invalid("is another queue than the service's, which stays", field="queue", value=spec.queue)
    service = service.changed(
        last_number=service.last_number + 1,
        min_replicas=spec.replicas.min,
        max_replicas=spec.replicas.max,
    )
    tx.services.save(service)
    _add_revision(context, tx, principal, service, kit)
    return view(tx, service)


def _add_revision(context: Context, tx: Tx, principal: Principal, service: Service, kit: _Kit) -> None:
    tx.uploads.add(kit.package, kit.package_bytes, tx.now)
    template, template_json = _template(service, kit)
    draft = submission.Draft(
        spec=template, spec_json=template_json, job_id=JobId(service.id), is_of_service=True
    )
    submission.examine(submission.open_desk(tx, principal), draft)
    identity = {"certificate": kit.authority.certificate_pem, "key": kit.authority.key_pem}
    revision = Revision(
        id=kit.revision_id,
        service_id=service.id,
        number=service.last_number,
        state=RevisionState.PENDING,
        since=tx.now,
        created_at=tx.now,
        created_by=principal.name,
        spec=kit.spec_json,
        template=template_json,
        secret_id=seal(context, tx, json.dumps(identity)),
        ca_pem=kit.authority.ca_pem,
    )
    tx.revisions.add(service, revision)
    tx.work.poke("service", service.id)


def _kit(
    context: Context,
    principal: Principal,
    spec: ServiceSpec,
    spec_json: str,
    revision_id: RevisionId | None = None,
) -> _Kit:
    model = None if spec.model is None else _model(context, principal, spec.project, spec.model)
    package, package_bytes = pack(context, spec.working_dir, _serving(spec, model))
    with context.store.read() as tx:
        now = tx.now
    return _Kit(
        spec=spec,
        spec_json=spec_json,
        package=package,
        package_bytes=package_bytes,
        reads={} if model is None else _reads(model),
        authority=claim_authority(SERVER_NAME, now=now, validity=VALIDITY),
        revision_id=revision_id or RevisionId(context.ids.new("revision")),
    )


def _model(context: Context, principal: Principal, project: str, reference: str) -> dict[str, Any]:  # JSON
    """What replicas load. Raises `NotFound`, `Conflict` for an archived version, `Invalid` for a wrong signature."""
    name, _, which = reference.partition("@")
    found: VersionView = get_version(context, principal, ModelName(project=project, name=name), which)
    version = found.version
    if version.state is Stage.ARCHIVED:
        raise Conflict(
            f"version {version.number} of {project}/{name} is archived", field="model", value=reference
        )
    if not vouched(context, version):
        raise Invalid(
            f"the signature of version {version.number} is wrong: its facts were changed after publication",
            field="model",
            value=reference,
        )
    artifacts = [
        {"name": each.name, "uri": each.uri, "sha256": each.sha256, "size_bytes": each.size_bytes}
        for each in found.facts.artifacts
    ]
    return {"name": name, "version": str(version.number), "artifacts": artifacts}


def _reads(model: dict[str, Any]) -> dict[str, str]:  # JSON
    """Replicas are bound by where these lie, as other jobs are by what they read."""
    return {f"model_{number}": each["uri"] for number, each in enumerate(model["artifacts"], 1)}


def _serving(spec: ServiceSpec, model: dict[str, Any] | None) -> dict[str, Any]:  # JSON
    return {
        "service": spec.name,
        "model": model,
        "import_path": spec.import_path,
        "config": dict(spec.config),
        "concurrency": spec.concurrency,
        "request_bytes": spec.limits.request_bytes,
    }


def _template(service: Service, kit: _Kit) -> tuple[JobSpec, str]:
    spec = kit.spec
    suffix = f"-{service.last_number}"
    template = JobSpec(
        name=f"{service.name[: LONGEST_NAME - len(suffix)]}{suffix}",
        kind="replica",
        project=spec.project,
        queue=spec.queue,
        priority=spec.priority,
        entrypoint=ENTRYPOINT,
        working_dir=kit.package,
        environment=dict(spec.environment) | {REVISION: str(service.last_number)},
        inputs=dict(kit.reads),
        tasks=spec.tasks,
        resources=spec.resources,
        topology=spec.topology,
        tolerations=spec.tolerations,
        flavors=spec.flavors,
        retry=RETRY,
        grace_seconds=spec.grace_seconds,
        labels={"service": service.name, "revision": str(service.last_number)},
    )
    return template, template.model_dump_json(exclude_unset=True)


def _again(context: Context, service: Service, old: Revision) -> tuple[ServiceSpec, str]:
    """The spec of a revision, its model by the number that was served: `production` may be another one by now."""
    spec = stored(old.spec)
    if spec.model is None or not spec.model.endswith(f"@{Stage.PRODUCTION}"):
        return spec, old.spec
    template = JobSpec.model_validate_json(old.template)
    try:
        with context.objects.get(upload_key(str(template.working_dir))) as package:
            number = model_version(package.read())
    except NotFound as gone:
        raise Conflict(
            f"revision {old.number} of service {service.name!r} was deployed with {spec.model}, and its package,"
            " which says the version, is no longer stored: deploy a version by its number",
            field="number",
            value=old.number,
        ) from gone
    again = spec.model_copy(update={"model": f"{spec.model.rpartition('@')[0]}@{number}"})
    return again, again.model_dump_json(exclude_unset=True)


def _earlier(tx: Tx, service: Service, number: int | None) -> Revision:
    if number is not None:
        found = tx.revisions.by_number(service.id, number)
        if found is None:
            raise NotFound(
                f"service {service.name!r} has no revision {number}",
                field="number",
                value=number,
                limit=service.last_number,
            )
        return found
    live = tx.revisions.live(service.id)
    newest = live[-1].number if live else service.last_number + 1
    before = tx.revisions.newest(service.id, newest, service.last_number)
    worked = next((each for each in before if each.ready_at is not None), None)
    if worked is None:
        raise Conflict(f"service {service.name!r} has no earlier revision that was ready", field="number")
    return worked
