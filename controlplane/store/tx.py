"""Tx: one open transaction, as callers see it; an attribute for each noun."""

from datetime import datetime

from controlplane.store.asks import Asks
from controlplane.store.attempts import Attempts
from controlplane.store.clusters import Clusters
from controlplane.store.envelopes import Secrets
from controlplane.store.events import Events
from controlplane.store.idempotency import Idempotency
from controlplane.store.jobs import Jobs
from controlplane.store.leases import Leases
from controlplane.store.links import Link
from controlplane.store.nodes import Nodes
from controlplane.store.projects import Projects, Queues
from controlplane.store.reasons import Reasons
from controlplane.store.records import Records
from controlplane.store.tokens import Tokens
from controlplane.store.uploads import Uploads
from controlplane.store.work import Work


class Tx:
    def __init__(self, link: Link) -> None:
        self.now: datetime = link.now
        """The database's clock, one value for the whole transaction."""

        self.projects = Projects(link)
        self.queues = Queues(link)
        self.jobs = Jobs(link)
        self.asks = Asks(link)
        self.attempts = Attempts(link)
        self.clusters = Clusters(link)
        self.nodes = Nodes(link)
        self.leases = Leases(link)
        self.work = Work(link)
        self.events = Events(link)
        self.tokens = Tokens(link)
        self.secrets = Secrets(link)
        self.idempotency = Idempotency(link)
        self.records = Records(link)
        self.uploads = Uploads(link)
        self.reasons = Reasons(link)
