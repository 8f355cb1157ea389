"""Tx: one open transaction, as callers see it; an attribute for each noun."""

from contextlib import AbstractContextManager
from datetime import datetime

from controlplane.store.asks import Asks
from controlplane.store.attempts import Attempts
from controlplane.store.audits import Audits
from controlplane.store.budgets import Budgets
from controlplane.store.claims import Claims, Launches, Orphans
from controlplane.store.clusters import Clusters
from controlplane.store.copied_objects import CopiedObjects
from controlplane.store.copies import Copies
from controlplane.store.costs import Costs
from controlplane.store.counts import Counts
from controlplane.store.envelopes import Secrets
from controlplane.store.events import Events
from controlplane.store.executions import Executions
from controlplane.store.heirs import Heirs
from controlplane.store.holdings import Holdings
from controlplane.store.idempotency import Idempotency
from controlplane.store.inputs import Inputs
from controlplane.store.jobs import Jobs
from controlplane.store.leases import Leases
from controlplane.store.links import Link
from controlplane.store.loads import Loads
from controlplane.store.memories import Memories
from controlplane.store.model_versions import ModelVersions
from controlplane.store.models import Models
from controlplane.store.nodes import Nodes
from controlplane.store.object_stores import ObjectStores
from controlplane.store.offers import Offers
from controlplane.store.projects import Projects, Queues
from controlplane.store.quotas import Quotas
from controlplane.store.reasons import Reasons
from controlplane.store.records import Records
from controlplane.store.repairs import Repairs
from controlplane.store.replicas import Replicas
from controlplane.store.residencies import Residencies
from controlplane.store.retention import Retention
from controlplane.store.revisions import Revisions
from controlplane.store.schedules import Schedules
from controlplane.store.services import Services
from controlplane.store.signing_keys import SigningKeys
from controlplane.store.sites import Sites
from controlplane.store.steps import Steps
from controlplane.store.strays import Strays
from controlplane.store.tokens import Tokens
from controlplane.store.uploads import Uploads
from controlplane.store.work import Work


class Tx:
    """Properties make their part when asked: a unit needs three of them, and there are thousands of units a second."""

    __slots__ = ("_link",)

    def __init__(self, link: Link) -> None:
        self._link = link

    @property
    def now(self) -> datetime:
        """The database's clock, one value for the whole transaction."""
        return self._link.now

    def savepoint(self) -> AbstractContextManager[None]:
        """What raises inside takes back its own writes alone. `Unavailable` ends the whole transaction."""
        return self._link.savepoint()

    @property
    def projects(self) -> Projects:
        return Projects(self._link)

    @property
    def queues(self) -> Queues:
        return Queues(self._link)

    @property
    def jobs(self) -> Jobs:
        return Jobs(self._link)

    @property
    def counts(self) -> Counts:
        return Counts(self._link)

    @property
    def executions(self) -> Executions:
        return Executions(self._link)

    @property
    def steps(self) -> Steps:
        return Steps(self._link)

    @property
    def schedules(self) -> Schedules:
        return Schedules(self._link)

    @property
    def asks(self) -> Asks:
        return Asks(self._link)

    @property
    def attempts(self) -> Attempts:
        return Attempts(self._link)

    @property
    def clusters(self) -> Clusters:
        return Clusters(self._link)

    @property
    def nodes(self) -> Nodes:
        return Nodes(self._link)

    @property
    def claims(self) -> Claims:
        return Claims(self._link)

    @property
    def launches(self) -> Launches:
        return Launches(self._link)

    @property
    def offers(self) -> Offers:
        return Offers(self._link)

    @property
    def costs(self) -> Costs:
        return Costs(self._link)

    @property
    def budgets(self) -> Budgets:
        return Budgets(self._link)

    @property
    def residencies(self) -> Residencies:
        return Residencies(self._link)

    @property
    def orphans(self) -> Orphans:
        return Orphans(self._link)

    @property
    def sites(self) -> Sites:
        return Sites(self._link)

    @property
    def strays(self) -> Strays:
        return Strays(self._link)

    @property
    def copies(self) -> Copies:
        return Copies(self._link)

    @property
    def copied_objects(self) -> CopiedObjects:
        return CopiedObjects(self._link)

    @property
    def inputs(self) -> Inputs:
        return Inputs(self._link)

    @property
    def object_stores(self) -> ObjectStores:
        return ObjectStores(self._link)

    @property
    def holdings(self) -> Holdings:
        return Holdings(self._link)

    @property
    def models(self) -> Models:
        return Models(self._link)

    @property
    def model_versions(self) -> ModelVersions:
        return ModelVersions(self._link)

    @property
    def services(self) -> Services:
        return Services(self._link)

    @property
    def revisions(self) -> Revisions:
        return Revisions(self._link)

    @property
    def replicas(self) -> Replicas:
        return Replicas(self._link)

    @property
    def loads(self) -> Loads:
        return Loads(self._link)

    @property
    def signing_keys(self) -> SigningKeys:
        return SigningKeys(self._link)

    @property
    def leases(self) -> Leases:
        return Leases(self._link)

    @property
    def work(self) -> Work:
        return Work(self._link)

    @property
    def events(self) -> Events:
        return Events(self._link)

    @property
    def tokens(self) -> Tokens:
        return Tokens(self._link)

    @property
    def secrets(self) -> Secrets:
        return Secrets(self._link)

    @property
    def idempotency(self) -> Idempotency:
        return Idempotency(self._link)

    @property
    def records(self) -> Records:
        return Records(self._link)

    @property
    def uploads(self) -> Uploads:
        return Uploads(self._link)

    @property
    def quotas(self) -> Quotas:
        return Quotas(self._link)

    @property
    def heirs(self) -> Heirs:
        return Heirs(self._link)

    @property
    def memories(self) -> Memories:
        return Memories(self._link)

    @property
    def reasons(self) -> Reasons:
        return Reasons(self._link)

    @property
    def audits(self) -> Audits:
        return Audits(self._link)

    @property
    def repairs(self) -> Repairs:
        return Repairs(self._link)

    @property
    def retention(self) -> Retention:
        return Retention(self._link)
