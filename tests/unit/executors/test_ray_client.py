"""Ray's Jobs API: the door that a token must not pass in the clear."""

import pytest

from controlplane.domain.clusters import Endpoint
from controlplane.domain.errors import Rejected
from controlplane.executors.ray.client import RayJobs


@pytest.mark.parametrize(
    "url",
    [
        "http://10.0.0.7:8265",
        "http://ray.example:8265",
        "http://127.0.0.1.evil.example",
        "http://localhost.evil.example:8265",
        "http://127.0.0.1@evil.example",
    ],
)
def test_plain_http_is_refused_wherever_it_would_leave_this_machine(url: str) -> None:
    with pytest.raises(Rejected, match="plain http"):
        RayJobs(Endpoint(url=url, token="t"))


@pytest.mark.parametrize(
    "url", ["http://127.0.0.2:8265", "http://localhost:8265", "http://[::1]:8265", "https://ray.example"]
)
def test_loopback_and_tls_are_let_in(url: str) -> None:
    RayJobs(Endpoint(url=url, token="t")).close()
