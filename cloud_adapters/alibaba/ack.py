"""Kubeconfigs of ACK, Alibaba Cloud's Kubernetes: what the Kubernetes adapter needs to reach such a cluster."""

from datetime import timedelta
from typing import Final

from cloud_adapters.alibaba.client import Account, deadline_of
from cloud_adapters.alibaba.settings import Access
from cloud_adapters.base import Rejected

LEAST_LIFE: Final = timedelta(minutes=15)
MOST_LIFE: Final = timedelta(days=3)


def kubeconfig(
    access: Access, cluster_id: str, *, life: timedelta, is_private: bool = False, deadline: float
) -> str:
    """A kubeconfig whose certificate lasts for `life`; ask again before it is over.

    `is_private`: for the address inside the VPC. Raises `AuthFailed` without the right
    cs:DescribeClusterUserKubeconfig, and `Rejected` for a cluster that the account does not have.
    """
    if not LEAST_LIFE <= life <= MOST_LIFE:
        raise Rejected(f"a kubeconfig of ACK lasts from 15 minutes to 3 days, not {life}")
    if not cluster_id.isalnum():
        raise Rejected(f"an id of an ACK cluster has letters and digits alone, not {cluster_id!r}")
    wanted = {
        "PrivateIpAddress": "true" if is_private else "false",
        "TemporaryDurationMinutes": str(life // timedelta(minutes=1)),
    }
    answer = Account(access).call_other(
        "DescribeClusterUserKubeconfig",
        wanted,
        path=f"/k8s/{cluster_id}/user_config",
        until=deadline_of(deadline),
    )
    return str(answer["config"])
