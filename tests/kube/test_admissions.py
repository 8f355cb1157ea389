"""Admissions: a Kubernetes cluster of a cloud is entered with credentials that end, and are renewed in time."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest

from cloud_adapters.admissions import Admission, kubeconfig_of
from cloud_adapters.base import AuthFailed, ClusterRef, Rejected, Transient
from cloud_adapters.kubernetes.adapter import KubernetesAdapter
from cloud_adapters.kubernetes.connections import EARLY
from cloud_adapters.kubernetes.kubeconfig import Permissions
from tests.kube.stages import KubeServer

SECONDS = 20.0
LONG = timedelta(hours=1)


@dataclass(slots=True)
class Cloud:
    """Admits with each of these tokens once, and with the last one for ever."""

    server: KubeServer
    tokens: list[tuple[str, timedelta]]
    told: list[tuple[Mapping[str, str], str | None]] = field(default_factory=list)
    is_away: bool = False

    def admit(self, settings: Mapping[str, str], secret: str | None, *, deadline: float) -> Admission:
        assert deadline > 0
        if self.is_away:
            raise Transient("the cloud does not answer")
        self.told.append((settings, secret))
        token, life = self.tokens.pop(0) if len(self.tokens) > 1 else self.tokens[0]
        return Admission(
            kubeconfig=kubeconfig_of(self.server.url, self.server.ca_pem, token),
            until=datetime.now(UTC) + life,
        )


@pytest.fixture
def cloud(kube_server: KubeServer) -> Cloud:
    return Cloud(kube_server, [(kube_server.token, LONG)])


@pytest.fixture
def adapter(cloud: Cloud) -> Iterator[KubernetesAdapter]:
    adapter = KubernetesAdapter(Permissions(local_addresses=True), admitting={"fog": cloud}.__getitem__)
    yield adapter
    adapter.close()


def cluster(*settings: tuple[str, str]) -> ClusterRef:
    return ClusterRef(
        id="c1",
        name="prod",
        endpoint=None,
        settings=(("credentials", "fog"), ("credentials.region", "north"), *settings),
        secret="keys of the cloud",
    )


def test_the_cloud_is_told_the_secret_and_what_the_settings_say(
    cloud: Cloud, adapter: KubernetesAdapter
) -> None:
    for _ in range(3):
        assert adapter.inventory(cluster(), deadline=SECONDS).session
    assert cloud.told == [({"region": "north"}, "keys of the cloud")]


def test_credentials_that_are_about_to_end_are_renewed_and_what_is_watched_goes_on(
    cloud: Cloud, adapter: KubernetesAdapter
) -> None:
    cloud.tokens = [
        (cloud.server.token, EARLY / 2),
        ("no-token-of-ours", EARLY / 2),
        (cloud.server.token, LONG),
    ]
    adapter.inventory(cluster(), deadline=SECONDS)
    before = adapter._connections.site(cluster(), SECONDS)  # with the second token now
    assert before.api.authorization() == "Bearer no-token-of-ours"
    assert adapter.inventory(cluster(), deadline=SECONDS).complete
    assert adapter._connections.site(cluster(), SECONDS) is before
    assert len(cloud.told) == 3


def test_credentials_that_were_refused_are_told(cloud: Cloud, adapter: KubernetesAdapter) -> None:
    cloud.tokens = [("no-token-of-ours", LONG)]
    with pytest.raises(AuthFailed):
        adapter.inventory(cluster(), deadline=SECONDS)


def test_a_cloud_that_is_away_is_no_word_about_the_cluster(cloud: Cloud, adapter: KubernetesAdapter) -> None:
    cloud.is_away = True
    with pytest.raises(Transient, match="the cloud does not answer"):
        adapter.inventory(cluster(), deadline=SECONDS)
    cloud.is_away = False
    assert adapter.inventory(cluster(), deadline=SECONDS).session


def test_a_cloud_that_is_away_when_credentials_are_renewed_changes_nothing_while_they_are_good(
    cloud: Cloud, adapter: KubernetesAdapter
) -> None:
    cloud.tokens = [(cloud.server.token, EARLY / 2)]
    adapter.inventory(cluster(), deadline=SECONDS)
    cloud.is_away = True
    assert adapter.inventory(cluster(), deadline=SECONDS).session


def test_settings_for_credentials_want_credentials(adapter: KubernetesAdapter) -> None:
    orphan = ClusterRef(id="c1", name="prod", endpoint=None, settings=(("credentials.region", "north"),))
    with pytest.raises(Rejected, match=r"credentials\.region is for credentials"):
        adapter.inventory(orphan, deadline=SECONDS)


def test_credentials_that_nobody_installed_are_refused_with_those_that_are() -> None:
    adapter = KubernetesAdapter(Permissions(local_addresses=True))
    with pytest.raises(Rejected, match="must be one of ack, eks, not 'fog'"):
        adapter.inventory(cluster(), deadline=SECONDS)
