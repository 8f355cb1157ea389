"""Residency: where work and data may be, and where clusters and stores are. Changes need an admin token."""

from collections.abc import Iterator, Sequence

from controlplane.sdk.bodies import body
from controlplane.sdk.transport import Transport, parse
from controlplane.wire.base import Page
from controlplane.wire.residency import ResidencyDocument, ResidencySet, ResidencySubject


class Residency:
    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def set(
        self,
        subject: ResidencySubject,
        name: str,
        *,
        providers: Sequence[str] = (),
        regions: Sequence[str] = (),
        clusters: Sequence[str] = (),
    ) -> ResidencyDocument:
        """For a `project`, or the `data` in a store: where it may be. For a `cluster` or a `store`: where it is."""
        wanted = body(
            ResidencySet,
            subject=subject,
            name=name,
            providers=list(providers),
            regions=list(regions),
            clusters=list(clusters),
        )
        return parse(ResidencyDocument, self._transport.post("/v1/residency", wanted))

    def list(self) -> Iterator[ResidencyDocument]:
        """What is not listed may be anywhere."""
        return self._transport.items("/v1/residency", Page[ResidencyDocument])
