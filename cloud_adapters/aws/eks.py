"""EKS: admission to AWS's Kubernetes clusters, with a token that is a signed question about who we are."""

from base64 import b64decode, urlsafe_b64encode
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

from cloud_adapters.admissions import Admission, chosen, kubeconfig_of
from cloud_adapters.aws.client import Account, Act
from cloud_adapters.aws.settings import SAFE_URL, is_safe_url
from cloud_adapters.base import Rejected, Transient

TOKEN_PREFIX: Final = "k8s-aws-v1."  # noqa: S105 # what every token begins with
CLUSTER_HEADER: Final = "x-k8s-aws-id"
URL_SECONDS: Final = 60
"""What EKS wants the URL in a token to be signed for."""

LIFE: Final = timedelta(minutes=14)
"""EKS takes a token for 15 minutes after it was signed, whatever the URL says."""


class Eks:
    """Needs the settings `cluster` and `region`; `endpoint_url` is for tests on loopback."""

    def admit(self, settings: Mapping[str, str], secret: str | None, *, deadline: float) -> Admission:
        given = chosen(settings, needed=("cluster", "region"), optional=("endpoint_url",))
        name, region = given["cluster"], given["region"]
        endpoint_url = given.get("endpoint_url")
        if endpoint_url is not None and not is_safe_url(endpoint_url):
            raise Rejected(f"setting credentials.endpoint_url must be {SAFE_URL}, not {endpoint_url!r}")
        account = Account(secret, endpoint_url)
        cluster = account.until(deadline).ask(Act.EKS_CLUSTER, region, name=name)["cluster"]
        if cluster["status"] != "ACTIVE":
            raise Transient(f"EKS cluster {name} is {cluster['status']}, not ACTIVE")
        signed = account.signed_identity_url(region, URL_SECONDS, {CLUSTER_HEADER: name})
        ca_pem = b64decode(cluster["certificateAuthority"]["data"]).decode()
        return Admission(
            kubeconfig=kubeconfig_of(cluster["endpoint"], ca_pem, token_of(signed)),
            until=datetime.now(UTC) + LIFE,
        )


def token_of(signed_url: str) -> str:
    return TOKEN_PREFIX + urlsafe_b64encode(signed_url.encode()).decode().rstrip("=")
