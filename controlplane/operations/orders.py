"""Orders: everything an executor must know to start an attempt, gathered from rows and the object store."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from controlplane.domain.attempts import Attempt, Seat
from controlplane.domain.clusters import Endpoint, Node
from controlplane.domain.data_copies import RegisteredStore
from controlplane.domain.errors import NotFound, Rejected
from controlplane.domain.ids import AttemptId, ClaimId, NodeId
from controlplane.domain.jobs import JobKind
from controlplane.domain.residency import Rules
from controlplane.domain.revisions import Revision
from controlplane.domain.sites import Site
from controlplane.domain.twins import quick
from controlplane.executors.base import Launch, Order, OrderSeat
from controlplane.identity.attempt_tokens import attempt_token
from controlplane.identity.replica_keys import replica_key
from controlplane.operations import staging
from controlplane.operations.context import Context
from controlplane.operations.endpoints import unsealed
from controlplane.operations.nearness import near
from controlplane.operations.replica_links import links
from controlplane.operations.serving_packages import artifact_uris
from controlplane.operations.uploads import upload_key
from controlplane.store import Tx
from controlplane.wire.jobspec import JobSpec

MOST_SPECS_REMEMBERED: Final = 64
"""Jobs come in thousands with one text. A text has up to some hundred KiB, so not many are kept."""


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class Papers:
    """All rows that the order for one attempt is made from."""

    attempt: Attempt
    seats: tuple[Seat, ...]
    names: Mapping[NodeId, str]
    """What Ray calls the nodes of the seats, and maybe others."""

    spec_json: str
    resume_from: str | None
    cluster_name: str
    stores: tuple[RegisteredStore, ...]
    """Those that the server may use: what is near the cluster takes the place of what is not."""

    rules: Rules
    """Of residency."""

    inputs: Mapping[str, str]
    """Where copies of its inputs are, by the URI that the job names."""

    host: str | None
    """Of the first seat's node, where Ray says what that is."""

    revision: Revision | None
    """Of a service's replica."""


def papers_for(tx: Tx, attempts: Sequence[Attempt]) -> dict[AttemptId, Papers]:
    if not attempts:
        return {}
    jobs = [attempt.job_id for attempt in attempts]
    specs, checkpoints = tx.jobs.specs(jobs), tx.records.newest_checkpoints(jobs)
    seats = tx.attempts.seats_of([attempt.id for attempt in attempts])
    node_ids = dict.fromkeys(seat.node_id for each in seats.values() for seat in each)
    nodes = tx.nodes.by_ids(list(node_ids))
    inputs = staging.read_from(tx, attempts)
    stores, rules = tuple(tx.object_stores.all()), tx.residencies.rules()
    names = {
        each: found.name for each in {a.cluster_id for a in attempts} if (found := tx.clusters.get(each))
    }
    replicas = [job_id for job_id, spec in specs.items() if _spec(spec).kind == JobKind.REPLICA.value]
    revisions = tx.revisions.of_jobs(replicas) if replicas else {}
    sites = tx.sites.many([each.claim_id for each in attempts if each.claim_id is not None])
    return {
        attempt.id: Papers(
            attempt=attempt,
            seats=tuple(seats.get(attempt.id, ())),
            names=_ray_names(nodes, _site(sites, attempt)),
            spec_json=specs[attempt.job_id],
            resume_from=checkpoints[attempt.job_id].uri if attempt.job_id in checkpoints else None,
            cluster_name=names.get(attempt.cluster_id, ""),
            stores=stores,
            rules=rules,
            inputs=inputs.get(attempt.id, {}),
            host=_host(seats.get(attempt.id, ()), nodes, _site(sites, attempt)),
            revision=revisions.get(attempt.job_id),
        )
        for attempt in attempts
    }


def order_for(context: Context, papers: Papers, endpoint: Endpoint) -> Order:
    """Raises `Rejected` when the upload that the spec names, or a member of its Ray cluster, is gone."""
    attempt, settings = papers.attempt, context.settings
    _check_members(papers)
    spec = _spec(papers.spec_json)
    working_dir = _working_dir(context, spec)
    roles = [role.name for role in spec.roles for _ in range(role.tasks)]
    return Order(
        attempt_id=attempt.id,
        job_id=attempt.job_id,
        number=attempt.number,
        endpoint=endpoint,
        seats=tuple(
            OrderSeat(
                rank=seat.rank,
                node_name=papers.names[seat.node_id],
                amounts=seat.amounts,
                role=roles[seat.rank] if roles else None,
            )
            for seat in sorted(papers.seats, key=lambda seat: seat.rank)
        ),
        launch=Launch(spec.launch),
        command=None if spec.is_function else spec.entrypoint,
        function=spec.entrypoint if spec.is_function else None,
        environment=dict(spec.environment)
        | staging.environment_of(spec.inputs, papers.inputs)
        | _replica_environment(context, papers, working_dir),
        working_dir=working_dir,
        urls=(settings.url,),
        token=attempt_token(context.server_key, attempt.id),
        lease_seconds=settings.lease_seconds,
        grace_seconds=spec.grace_seconds,
        start_timeout_seconds=settings.start_timeout_seconds,
        log_quota_bytes=settings.log_quota_bytes,
        checkpoint_uri=_near(papers, spec.checkpoint_uri),
        outputs_uri=spec.outputs_uri,
        resume_from=_near(papers, papers.resume_from),
    )


def _replica_environment(context: Context, papers: Papers, package: bytes | None) -> dict[str, str]:
    """What a replica proves with that it may be asked, who asks that it may, and how it comes by its model.

    Ray shows all of it to its own cluster.
    """
    revision = papers.revision
    if revision is None or package is None:
        return {}
    with context.store.read() as tx:
        identity = unsealed(context, tx, revision.secret_id)
    environment = {"CROSSDOCK_REPLICA_KEY": replica_key(context.server_key, revision.id)}
    if identity is not None:
        environment["CROSSDOCK_REPLICA_IDENTITY"] = identity
    if papers.host is not None:
        environment["CROSSDOCK_REPLICA_HOST"] = papers.host
    if found := links(context, artifact_uris(package)):
        environment["CROSSDOCK_REPLICA_LINKS"] = json.dumps(found)
    return environment


def _site(sites: Mapping[ClaimId, Site], attempt: Attempt) -> Site | None:
    return sites.get(attempt.claim_id) if attempt.claim_id else None


def _host(seats: Sequence[Seat], nodes: Mapping[NodeId, Node], site: Site | None) -> str | None:
    """A member of a built Ray cluster has an address that only it knows."""
    first = min(seats, key=lambda seat: seat.rank, default=None)
    if first is None or first.node_id not in nodes or (site is not None and site.members):
        return None
    return nodes[first.node_id].host


def _ray_names(nodes: Mapping[NodeId, Node], site: Site | None) -> dict[NodeId, str]:
    """A built Ray cluster has a member on each lent node; everywhere else the node is Ray's own."""
    if site is None or not site.members:
        return {each: node.name for each, node in nodes.items()}
    members = dict(site.members)
    return {each: members[node.name] for each, node in nodes.items() if node.name in members}


def _near(papers: Papers, uri: str | None) -> str | None:
    if uri is None:
        return None
    return near(papers.stores, papers.rules, papers.attempt.project_id, papers.cluster_name, uri)


def _check_members(papers: Papers) -> None:
    missing = [seat.node_id for seat in papers.seats if seat.node_id not in papers.names]
    if missing:
        raise Rejected(f"its Ray cluster has no member on node {missing[0]}")


@lru_cache(maxsize=MOST_SPECS_REMEMBERED)
def _spec(spec_json: str) -> JobSpec:
    """Shared by all who ask: nobody may change it."""
    return JobSpec.model_validate_json(spec_json)


def _working_dir(context: Context, spec: JobSpec) -> bytes | None:
    if spec.working_dir is None:
        return None
    try:
        with context.objects.get(upload_key(spec.working_dir)) as archive:
            return archive.read()
    except NotFound as gone:
        raise Rejected(f"working_dir {spec.working_dir} is no longer stored") from gone
