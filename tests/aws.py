"""A strict EC2, and clusters that stand for its account: what tests of the AWS adapter begin with."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from cloud_adapters.aws.server import IMAGE, StrictEc2
from cloud_adapters.base import CapacityType, ClusterRef, LaunchOrder

REGIONS = ("us-east-1", "us-west-2")
ZONES = ("us-east-1a", "us-east-1b", "us-west-2a")
TYPE = "g5.xlarge"


@dataclass(slots=True)
class Clock:
    at: datetime = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.at

    def wait(self) -> None:
        self.at += timedelta(minutes=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Aws:
    """One account and the address at which it is spoken to."""

    cloud: StrictEc2
    url: str
    clock: Clock = field(repr=False)

    def cluster(self, *, secret: str | None = None, **changes: str | None) -> ClusterRef:
        """Changes with None leave a setting out."""
        settings: dict[str, str | None] = {
            "regions": ",".join(REGIONS),
            "subnets": ",".join(f"{zone}={self.cloud.subnet_of(zone)}" for zone in ZONES),
            "images": ",".join(f"{region}={IMAGE}" for region in REGIONS),
            "machine_types": f"{TYPE},g5.12xlarge,p4d.24xlarge",
            "endpoint_url": self.url,
        }
        given = {name: value for name, value in (settings | changes).items() if value is not None}
        return ClusterRef(
            id="clu_1",
            name="burst",
            endpoint=None,
            settings=tuple(sorted(given.items())),
            secret=secret or self.cloud.secret,
        )

    def order(self, cluster: ClusterRef | None = None) -> LaunchOrder:
        return LaunchOrder(
            cluster=cluster or self.cluster(),
            claim_id="clm_1",
            launch_id="clm_1-g1-l1",
            zone=ZONES[0],
            machine_type=TYPE,
            capacity_type=CapacityType.SPOT,
            machines=2,
        )


@contextmanager
def account() -> Iterator[Aws]:
    clock = Clock()
    cloud = StrictEc2(now=clock)
    with cloud.serving() as url:
        yield Aws(cloud=cloud, url=url, clock=clock)
