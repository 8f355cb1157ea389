"""ACK: admission to Alibaba Cloud's Kubernetes clusters, with a kubeconfig whose certificate ends by itself."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

from cloud_adapters.admissions import Admission, chosen
from cloud_adapters.alibaba.client import Account, deadline_of
from cloud_adapters.alibaba.settings import access_of
from cloud_adapters.base import Rejected

LIFE: Final = timedelta(hours=1)
"""ACK gives from 15 minutes to 3 days. What was once given cannot be taken back, so not long."""

SWITCH: Final = {"on": "true", "off": "false"}


class Ack:
    """Needs the settings `cluster` (its id) and `region`.

    `private` = `on`: by the address inside the VPC. `endpoint` is for tests on loopback.
    """

    def admit(self, settings: Mapping[str, str], secret: str | None, *, deadline: float) -> Admission:
        """Needs the right cs:DescribeClusterUserKubeconfig."""
        given = chosen(settings, needed=("cluster", "region"), optional=("private", "endpoint"))
        cluster_id, private = given["cluster"], given.get("private", "off")
        if not (cluster_id.isascii() and cluster_id.isalnum()):
            raise Rejected(f"setting credentials.cluster has letters and digits alone, not {cluster_id!r}")
        if private not in SWITCH:
            raise Rejected(f"setting credentials.private must be on or off, not {private!r}")
        until = datetime.now(UTC) + LIFE
        wanted = {
            "PrivateIpAddress": SWITCH[private],
            "TemporaryDurationMinutes": str(LIFE // timedelta(minutes=1)),
        }
        answer = Account(access_of(given, secret, f"ACK cluster {cluster_id}")).call_other(
            "DescribeClusterUserKubeconfig",
            wanted,
            path=f"/k8s/{cluster_id}/user_config",
            until=deadline_of(deadline),
        )
        return Admission(kubeconfig=str(answer["config"]), until=until)
