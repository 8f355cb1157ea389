"""Revisions: one immutable version of a service each, and how far its release has come."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final, Self

from controlplane.domain.copies import replace
from controlplane.domain.ids import RevisionId, SecretId, ServiceId
from controlplane.domain.lifecycles import Lifecycle, to
from controlplane.domain.services import ALL_PPM


class RevisionState(StrEnum):
    PENDING = "pending"
    """Another one is being released, or it was just made."""

    DEPLOYING = "deploying"
    """It has replicas, and none has been ready yet."""

    READY = "ready"
    """A replica of it was ready. It takes the share of the traffic that its weight says."""

    FAILED = "failed"
    """No replica of it was ever ready."""

    RETIRING = "retiring"
    """It takes no more traffic; its replicas finish what they have."""

    RETIRED = "retired"


REVISION: Final = Lifecycle(
    noun="revision",
    initial=RevisionState.PENDING,
    edges={
        RevisionState.PENDING: to(RevisionState.DEPLOYING, RevisionState.RETIRED),
        RevisionState.DEPLOYING: to(RevisionState.READY, RevisionState.FAILED, RevisionState.RETIRING),
        RevisionState.READY: to(RevisionState.RETIRING),
        RevisionState.RETIRING: to(RevisionState.RETIRED),
        RevisionState.FAILED: to(),
        RevisionState.RETIRED: to(),
    },
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Revision:
    id: RevisionId
    service_id: ServiceId
    number: int
    """From 1, in the order of deployment."""

    state: RevisionState
    since: datetime
    created_at: datetime
    created_by: str
    """Name of the token."""

    spec: str
    """As it was submitted."""

    template: str
    """Spec of the job that each replica is, without what tells replicas apart."""

    secret_id: SecretId | None
    """Where the certificate of its replicas and its key lie, encrypted; None: gone with the replicas."""

    ca_pem: str
    """Vouches for its replicas and for nobody else."""

    weight_ppm: int = 0
    """Its share of the service's traffic."""

    weighed_at: datetime | None = None
    """When the share last changed."""

    ready_at: datetime | None = None
    reason: str | None = None
    """Why it is where it is, one sentence."""

    version: int = 1
    came_from: str = "-"

    def move(self, new: RevisionState, *, at: datetime, reason: str | None = None) -> Self:
        REVISION.check(self.state, new)
        return replace(
            self,
            state=new,
            came_from=str(self.state),
            since=at,
            version=self.version + 1,
            ready_at=at if new is RevisionState.READY else self.ready_at,
            reason=reason or self.reason,
        )

    def weighed(self, weight_ppm: int, *, at: datetime) -> Self:
        return replace(self, weight_ppm=weight_ppm, weighed_at=at, version=self.version + 1)

    def take_all(self, *, at: datetime) -> Self:
        """Of the service's traffic; only what is ready may."""
        return self.weighed(ALL_PPM, at=at)

    def retire(self, *, at: datetime, reason: str | None = None) -> Self:
        """Of one that has replicas: its traffic goes first."""
        unweighed = replace(self, weight_ppm=0, weighed_at=at)
        return unweighed.move(RevisionState.RETIRING, at=at, reason=reason)

    @property
    def is_over(self) -> bool:
        return REVISION.is_terminal(self.state)
