"""The way in: one client for one control plane."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from types import TracebackType
from typing import Self

from controlplane.sdk import costs, endpoint, streams
from controlplane.sdk.capacity import Claims, Offers
from controlplane.sdk.clusters import Clusters
from controlplane.sdk.costs import Budgets, Rates
from controlplane.sdk.data import Data, Stores
from controlplane.sdk.job import PATIENCE_SECONDS
from controlplane.sdk.jobs import Jobs
from controlplane.sdk.models import Models
from controlplane.sdk.pipelines import Pipelines, Schedules
from controlplane.sdk.quotas import Flavors, Quotas
from controlplane.sdk.residency import Residency
from controlplane.sdk.services import Services
from controlplane.sdk.tenants import Projects, Queues, Tokens
from controlplane.sdk.transport import Transport, parse
from controlplane.sdk.uploads import Uploads
from controlplane.wire.admin import MeDocument
from controlplane.wire.base import Page
from controlplane.wire.costs import CostDocument, CostGroup
from controlplane.wire.jobs import EventDocument


class Client:
    """Close it, or use it in a `with` statement. May be shared by threads.

    Connection failures and answers 429, 502, 503 and 504 are tried again for `patience_seconds`, at
    the next address where there are several, with one idempotency key per call: an answer that got
    lost never makes a second job.
    """

    def __init__(
        self,
        url: str | Sequence[str] | None = None,
        token: str | None = None,
        *,
        timeout_seconds: float = 30.0,
        patience_seconds: float = 15.0,
    ) -> None:
        """Defaults: CROSSDOCK_URL and CROSSDOCK_TOKEN, then what `crossdock server init` left on this machine.

        `url` may be several, as a list or with commas: replicas of one control plane. Each single
        try is given up after `timeout_seconds` of silence. Raises `Misconfigured`.
        """
        found = endpoint.find(url, token)
        self._transport = Transport(found, timeout_seconds=timeout_seconds, patience_seconds=patience_seconds)
        self.jobs = Jobs(self._transport)
        self.clusters = Clusters(self._transport)
        self.claims = Claims(self._transport)
        self.offers = Offers(self._transport)
        self.projects = Projects(self._transport)
        self.queues = Queues(self._transport)
        self.quotas = Quotas(self._transport)
        self.flavors = Flavors(self._transport)
        self.rates = Rates(self._transport)
        self.budgets = Budgets(self._transport)
        self.residency = Residency(self._transport)
        self.stores = Stores(self._transport)
        self.data = Data(self._transport)
        self.models = Models(self._transport)
        self.pipelines = Pipelines(self._transport)
        self.schedules = Schedules(self._transport)
        self.tokens = Tokens(self._transport)
        self.uploads = Uploads(self._transport)
        self.services = Services(self._transport, self.uploads)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._transport.close()

    def me(self) -> MeDocument:
        """Whose token this is, and what it may do."""
        return parse(MeDocument, self._transport.get("/v1/me"))

    def costs(
        self,
        *,
        by: CostGroup = "queue",
        since: datetime | None = None,
        until: datetime | None = None,
        project: str | None = None,
    ) -> Iterator[CostDocument]:
        """What was spent in a window (default: this month, UTC), by currency and group.

        The groups of any `by` add up to the same in each currency, to the millionth. Moments need a time zone.
        """
        return costs.costs(self._transport, by=by, since=since, until=until, project=project)

    def events(
        self,
        *,
        after: str | None = None,
        follow: bool = False,
        job: str | None = None,
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> Iterator[EventDocument]:
        """What happened, oldest first, from the cursor `after` on (default: the beginning), of one job or of all.

        With `follow` it goes on until you stop, across restarts of the server, each event once.
        """
        if not follow:
            return self._past_events(after=after, job=job)
        messages = streams.follow(
            self._transport,
            "/v1/events/stream",
            params={"after": after, "job": job},
            patience_seconds=patience_seconds,
            is_over=lambda: False,
        )
        return (EventDocument.model_validate_json(message.data) for message in messages)

    def _past_events(self, *, after: str | None, job: str | None) -> Iterator[EventDocument]:
        return self._transport.items("/v1/events", Page[EventDocument], params={"job": job}, after=after)
