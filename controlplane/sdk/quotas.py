"""Quotas and flavors: how much of which capacity a queue may use. Changes need an admin token of all projects."""

from collections.abc import Iterator

from controlplane.sdk.bodies import body
from controlplane.sdk.transport import Transport, parse
from controlplane.wire.base import Page
from controlplane.wire.quotas import (
    FlavorDocument,
    FlavorRemove,
    FlavorSet,
    QuotaDocument,
    QuotaExplanation,
    QuotaRemove,
    QuotaSet,
    SurpriseDocument,
)


class Quotas:
    """A node of the tree is a queue, named with its project, or a cohort of queues that lend to each other."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def set(self, **settings: object) -> QuotaDocument:
        """All of one node; what is left out gets its default. The fields are those of `QuotaSet`:

        `cohort`, or `project` and `queue`; `parent`, `weight`, `limits` (a list of `flavor`, `resource`, `nominal`,
        `borrowing`, `lending`), `flavors`, `preemption`, `burst_after_seconds`, `aging_seconds`, `band`, `stopped`...
        """
        return parse(QuotaDocument, self._transport.post("/v1/quotas", body(QuotaSet, **settings)))

    def remove(
        self, *, cohort: str | None = None, project: str = "default", queue: str | None = None
    ) -> QuotaDocument:
        """A queue then has no limits; a cohort must have no members."""
        wanted = body(QuotaRemove, cohort=cohort, project=project, queue=queue)
        return parse(QuotaDocument, self._transport.post("/v1/quotas/remove", wanted))

    def list(self) -> Iterator[QuotaDocument]:
        return self._transport.items("/v1/quotas", Page[QuotaDocument])

    def lint(self) -> Iterator[SurpriseDocument]:
        """What is allowed in the tree, and yet is hardly meant."""
        return self._transport.items("/v1/quotas/lint", Page[SurpriseDocument])

    def explain(self, queue: str, *, project: str = "default") -> QuotaExplanation:
        answer = self._transport.get("/v1/quotas/explain", params={"queue": queue, "project": project})
        return parse(QuotaExplanation, answer)


class Flavors:
    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def set(self, name: str, **rule: object) -> FlavorDocument:
        """The fields are those of `FlavorSet`: `rank`, `clusters`, `accelerators`, `capacity_types`, `labels`."""
        wanted = body(FlavorSet, name=name, **rule)
        return parse(FlavorDocument, self._transport.post("/v1/flavors", wanted))

    def remove(self, name: str) -> FlavorDocument:
        return parse(
            FlavorDocument, self._transport.post("/v1/flavors/remove", body(FlavorRemove, name=name))
        )

    def list(self) -> Iterator[FlavorDocument]:
        return self._transport.items("/v1/flavors", Page[FlavorDocument])
