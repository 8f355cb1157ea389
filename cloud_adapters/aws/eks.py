"""An EKS cluster as the Kubernetes adapter wants it: address, certificate authority, and a token of a quarter hour."""

from base64 import b64decode, urlsafe_b64encode
from dataclasses import dataclass, field
from typing import Final

from cloud_adapters.aws.client import Account, Act
from cloud_adapters.base import Transient

TOKEN_PREFIX: Final = "k8s-aws-v1."  # noqa: S105 # what every token begins with
CLUSTER_HEADER: Final = "x-k8s-aws-id"
URL_SECONDS: Final = 60
"""EKS takes a token for 15 minutes, and wants the URL in it signed for no more than this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EksAccess:
    url: str
    ca_pem: str
    token: str = field(repr=False)


def access(
    name: str, region: str, *, secret: str | None, deadline: float, endpoint_url: str | None = None
) -> EksAccess:
    """`secret` as in `ClusterRef`. Raises `Transient` while the cluster is being made, else as any call to AWS."""
    account = Account(secret, endpoint_url)
    cluster = account.until(deadline).ask(Act.EKS_CLUSTER, region, name=name)["cluster"]
    if cluster["status"] != "ACTIVE":
        raise Transient(f"EKS cluster {name} is {cluster['status']}, not ACTIVE")
    return EksAccess(
        url=cluster["endpoint"],
        ca_pem=b64decode(cluster["certificateAuthority"]["data"]).decode(),
        token=token_of(account.signed_identity_url(region, URL_SECONDS, {CLUSTER_HEADER: name})),
    )


def token_of(signed_url: str) -> str:
    return TOKEN_PREFIX + urlsafe_b64encode(signed_url.encode()).decode().rstrip("=")
