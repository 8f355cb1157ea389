"""Residency: saying where work and data may be, and refusing what would bring them elsewhere."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from controlplane.domain.clusters import Cluster
from controlplane.domain.data_copies import RegisteredStore
from controlplane.domain.errors import Forbidden, Invalid, NotFound
from controlplane.domain.ids import ProjectId
from controlplane.domain.projects import Project
from controlplane.domain.residency import ANYWHERE, Residency, Rules, Source, Subject, Whereabouts, refusal
from controlplane.identity.policy import Action, authorize
from controlplane.identity.principals import Principal
from controlplane.operations.context import Context
from controlplane.operations.idempotency import Once, write_once
from controlplane.operations.lookups import cluster_for, project_for
from controlplane.storage.uris import Kind, parse
from controlplane.store import Tx

REGION_SETTINGS = ("region", "regions")
"""Settings of clusters that say where a plugin buys, with commas between several."""

OF_KINDS = {Kind.S3: "aws", Kind.OSS: "alibaba", Kind.FILE: "local"}
"""With whom a store is that has no endpoint of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResidencyView:
    subject: Subject
    name: str
    residency: Residency


def put(
    context: Context,
    principal: Principal,
    subject: Subject,
    name: str,
    residency: Residency,
    *,
    once: Once[ResidencyView] | None = None,
) -> ResidencyView:
    """Replaces what was said before; with nothing named, it may be anywhere. What runs elsewhere already runs on."""
    authorize(principal, Action.EDIT_RESIDENCY)
    if subject in (Subject.CLUSTER, Subject.STORE) and (residency.providers or residency.clusters):
        raise Invalid(f"of a {subject} only its regions can be said", field="providers")

    def unit(tx: Tx) -> ResidencyView:
        kept = Residency(
            providers=tuple(sorted(frozenset(residency.providers))),
            regions=tuple(sorted(frozenset(residency.regions))),
            clusters=tuple(sorted(frozenset(residency.clusters))),
        )
        tx.residencies.put(subject, _id(tx, principal, subject, name), kept, by=principal.name)
        return ResidencyView(subject=subject, name=name, residency=kept)

    return write_once(context.store, unit, once)


def listed(context: Context, principal: Principal) -> list[ResidencyView]:
    """By subject and name. Who sees one project only sees its own rule, and where clusters and stores are."""
    authorize(principal, Action.READ)
    with context.store.read() as tx:
        views = []
        for subject, id_, residency in tx.residencies.all():
            name: str | None = id_
            if subject is Subject.PROJECT:
                project = tx.projects.get(ProjectId(id_)) if principal.sees(ProjectId(id_)) else None
                name = None if project is None else project.name
            elif subject is Subject.CLUSTER:
                cluster = next((each for each in tx.clusters.list() if each.id == id_), None)
                name = None if cluster is None else cluster.name
            if name is not None:
                views.append(ResidencyView(subject=subject, name=name, residency=residency))
        return sorted(views, key=lambda view: (view.subject, view.name))


def place_of(cluster: Cluster, rules: Rules) -> Whereabouts:
    """What an administrator said, and the regions that its plugin buys in."""
    return Whereabouts(
        called=f"cluster {cluster.name!r}",
        provider=cluster.adapter,
        regions=rules.clusters.get(cluster.id, ANYWHERE).regions,
        spread=bought_in(cluster),
        cluster=cluster.name,
    )


def bought_in(cluster: Cluster) -> tuple[str, ...]:
    """The regions that its plugin buys in, sorted."""
    settings = dict(cluster.settings)
    texts = ",".join(settings.get(name, "") for name in REGION_SETTINGS)
    return tuple(sorted({each.strip() for each in texts.split(",")} - {""}))


def place_of_store(store: RegisteredStore, rules: Rules) -> Whereabouts:
    own = {store.region} if store.region else set()
    return Whereabouts(
        called=f"store {store.name!r}",
        provider="" if store.endpoint is not None else OF_KINDS[parse(store.uri).kind],
        regions=tuple(sorted(own | set(rules.stores.get(store.name, ANYWHERE).regions))),
    )


def outside(
    rules: Rules, project_id: ProjectId, cluster: Cluster, *, stores: Iterable[str] = ()
) -> str | None:
    """Why the project's work, reading from these stores, may not be on the cluster; None: it may."""
    owned = [("the project", rules.of_project(project_id))]
    owned += [(f"what lies in store {each!r}", rules.data.get(each, ANYWHERE)) for each in stores]
    limiting = [(owner, rule) for owner, rule in owned if not rule.is_anywhere]
    if not limiting:
        return None
    place = place_of(cluster, rules)
    refusals = (refusal(rule, owner, place) for owner, rule in limiting)
    return next((each for each in refusals if each is not None), None)


def check_submit(
    rules: Rules,
    project: Project,
    clusters: Iterable[Cluster],
    *,
    reads: Sequence[Source] = (),
    path: str = "",
) -> None:
    """Raises `Invalid` when there are clusters, and the project's work that reads this may be on none of them.

    It names what leaves none: the project, or the first source that does with all before it.
    """
    left, named = list(clusters), ("the project", f"{path}project", project.name)
    wanted = [
        (named, ()),
        *(((_told(each), f"{path}{each.field}", each.uri), (each.store,)) for each in reads),
    ]
    for (called, field, value), stores in wanted:
        refusals = [outside(rules, project.id, cluster, stores=stores) for cluster in left]
        if refusals and None not in refusals:
            why = f"residency: no cluster is where {called} may be: {refusals[0]}"
            raise Invalid(why, field=field, value=value)
        left = [cluster for cluster, why in zip(left, refusals, strict=True) if why is None]


def check_copy(tx: Tx, project_id: ProjectId, source: RegisteredStore, target: RegisteredStore) -> None:
    """Raises `Forbidden` when the project or the content of the source may not be where the target is."""
    why = kept_out(tx.residencies.rules(), project_id, source, target)
    if why is not None:
        raise Forbidden(f"residency: {why}", field="target", value=target.uri)


def kept_out(
    rules: Rules, project_id: ProjectId, source: RegisteredStore, target: RegisteredStore
) -> str | None:
    """Why what lies in the source may not be moved to the target; whatever moves data asks this. None: it may."""
    there = place_of_store(target, rules)
    return refusal(rules.of_project(project_id), "the project", there) or refusal(
        rules.data.get(source.name, ANYWHERE), f"what lies in store {source.name!r}", there
    )


def _told(source: Source) -> str:
    return f"its {source.called} (in store {source.store!r})"


def _id(tx: Tx, principal: Principal, subject: Subject, name: str) -> str:
    match subject:
        case Subject.PROJECT:
            return project_for(tx, principal, name).id
        case Subject.CLUSTER:
            return cluster_for(tx, name).id
        case Subject.DATA | Subject.STORE:
            if all(each.name != name for each in tx.object_stores.all()):
                raise NotFound(f"there is no store {name!r}", field="name", value=name)
            return name
