"""Bought capacity: claims on machines, machines that nobody claims, and what is for sale.

Changes need an admin token of all projects.
"""

from collections.abc import Iterator, Sequence

from controlplane.sdk.bodies import body
from controlplane.sdk.transport import Transport, parse
from controlplane.wire.admin import ClusterDocument
from controlplane.wire.base import Page
from controlplane.wire.capacity import (
    CapacityType,
    ClaimCreate,
    ClaimDetails,
    ClaimDocument,
    LeftoverDocument,
    OfferDocument,
    OrphanDocument,
)


class Claims:
    """`cluster` is a name or an id."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def request(
        self,
        cluster: str,
        *,
        machine_type: str,
        capacity_type: CapacityType,
        zones: Sequence[str],
        machines: int,
        machines_want: int | None = None,
        project: str | None = None,
        reservation: str | None = None,
        idle_seconds: float | None = None,
        tries_again: bool = True,
    ) -> ClaimDetails:
        """Asks for `machines`, all or none, in the first zone that has them, to be held until they are released.

        More, up to `machines_want`, are bought later. `project` keeps other projects' jobs off them.
        `idle_seconds` gives them back when nothing ran there for so long. With `tries_again` False the
        claim ends once every zone has refused.
        """
        wanted = body(
            ClaimCreate,
            cluster=cluster,
            machine_type=machine_type,
            capacity_type=capacity_type,
            zones=list(zones),
            machines_min=machines,
            machines_want=machines_want,
            project=project,
            reservation=reservation,
            idle_seconds=idle_seconds,
            tries_again=tries_again,
        )
        return parse(ClaimDetails, self._transport.post("/v1/claims", wanted))

    def list(self, *, cluster: str | None = None, live: bool | None = None) -> Iterator[ClaimDocument]:
        """Oldest first. `live` True: all but the gone; False: those alone."""
        is_live = None if live is None else str(live).lower()
        return self._transport.items(
            "/v1/claims", Page[ClaimDocument], params={"cluster": cluster, "live": is_live}
        )

    def get(self, claim_id: str) -> ClaimDetails:
        return parse(ClaimDetails, self._transport.get(f"/v1/claims/{claim_id}"))

    def release(self, claim_id: str) -> ClaimDetails:
        """Lets what runs there finish, then gives the machines back."""
        return self._do("release", claim_id)

    def keep(self, claim_id: str) -> ClaimDetails:
        """Takes a release back; a conflict once the machines are being ended."""
        return self._do("keep", claim_id)

    def orphans(self) -> Iterator[OrphanDocument]:
        """Machines with our tag that no live claim wants. They are ended after a grace."""
        return self._transport.items("/v1/orphans", Page[OrphanDocument])

    def leftovers(self) -> Iterator[LeftoverDocument]:
        """Disks, addresses and the like with our tag that no live claim wants; those with a `problem` stay.

        Needs an admin token of all projects.
        """
        return self._transport.items("/v1/leftovers", Page[LeftoverDocument])

    def _do(self, verb: str, claim_id: str) -> ClaimDetails:
        return parse(ClaimDetails, self._transport.post(f"/v1/claims/{claim_id}/{verb}"))


class Offers:
    """What the clouds of clusters sell, as they last said. Says nothing about stock."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list(self, *, cluster: str | None = None) -> Iterator[OfferDocument]:
        """By cluster, machine type, zone and capacity type."""
        return self._transport.items("/v1/offers", Page[OfferDocument], params={"cluster": cluster})

    def refresh(self, cluster: str) -> ClusterDocument:
        """Has its cloud asked soon; `offers_listed_at` of the cluster tells when it was."""
        answer = self._transport.post(f"/v1/clusters/{cluster}/refresh-offers")
        return parse(ClusterDocument, answer)
