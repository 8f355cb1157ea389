"""A site without an inbound route: its agent dials out, and what it is told to reach is reached through the tunnel."""

import os
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import grpc
import httpx
import pytest

from cloud_adapters import dialling
from cloud_adapters.base import Endpoint, Route
from controlplane.identity.agent_tokens import tunnel_password
from controlplane.recipes.serving.inference_messages import SERVICE as INFERENCE
from controlplane.recipes.serving.inference_messages import message
from controlplane.sdk import JobSpec
from tests.hypervisor import namespaces
from tests.hypervisor.hypervisor import RAY, Guest, Hypervisor
from tests.parts import require_part
from tests.server import RunningServer, eventually, free_port, running_server

pytestmark = [pytest.mark.verify, pytest.mark.timeout(400)]

BOOT_SECONDS: Final = 60.0
RAY_TOKEN: Final = "ray-token-of-the-site"
REPOSITORY: Final = Path(__file__).parents[2]
SERVICE: Final = (
    "mkdir -p /srv/api; echo inside > /srv/api/here\n"
    "python3 -m http.server {port} --bind 127.0.0.1 --directory /srv &\n"
)
RAY_START: Final = (
    "export RAY_AUTH_MODE=token RAY_AUTH_TOKEN=" + RAY_TOKEN + "\n"
    "ray start --head --dashboard-host=127.0.0.1 --dashboard-port=8265 --disable-usage-stats"
    " --node-ip-address=$(hostname -i) --include-dashboard=true || exit 9"
)
CODE: Final = """
class Times:
    def __call__(self, inputs):
        return {"product": [value * 2 for value in inputs["x"]]}
"""
TENSOR: Final = {"inputs": [{"name": "x", "datatype": "INT64", "shape": [2], "data": [3, 4]}]}


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    server: RunningServer
    hypervisor: Hypervisor
    cluster_id: str

    def agent(self, token: str, *, before: str, targets: str) -> Guest:
        """A pod that runs `before`, and then the agent."""
        command = (
            f"{before}\numask 077; mkdir /tokens; echo {token} > /tokens/token\n"
            f"exec {shlex.quote(sys.executable)} -m controlplane.cli.main agent"
            f" --url {self.server.settings.url} --token-file /tokens/token {targets}"
        )
        environment = {"PYTHONPATH": str(REPOSITORY), "PATH": f"{Path(RAY).parent}:{os.environ['PATH']}"}
        return self.hypervisor.spawn("site", ["sh", "-c", command], environment, shared=[str(REPOSITORY)])

    def token(self) -> str:
        """As `crossdock server agent-token` prints it."""
        from controlplane.admin.agent import first_token  # noqa: PLC0415 - beside the server's other parts

        return first_token(self.server.settings, "far")

    def get(self, url: str, *, password: str | None = None) -> httpx.Response:
        secret = password or self.password()
        proxy = f"http://{self.cluster_id}:{secret}@127.0.0.1:{self.server.settings.tunnel_port}"
        with dialling.client(Endpoint(url=url, route=Route(proxy_url=proxy))) as client:
            return client.get("/api/here", timeout=20)

    def password(self) -> str:
        from controlplane import bootstrap  # noqa: PLC0415 - as above

        context = bootstrap.context(self.server.settings)
        context.store.close()
        return tunnel_password(context.server_key, self.cluster_id)


@contextmanager
def far_site(
    home: Path, url: str, token: str | None = None, *, ports: tuple[int, int] = (0, 0)
) -> Iterator[Site]:
    """`ports`: of the gateway, for HTTP and gRPC; it is started by whoever wants it."""
    require_part("namespaces", namespaces.is_available(), "needs root and Linux namespaces")
    with (
        running_server(
            home, tunnel_port=free_port(), gateway_port=ports[0], gateway_grpc_port=ports[1]
        ) as server,
        server.client() as client,
    ):
        cluster = client.clusters.add("far", adapter="ray", url=url, token=token, settings={"via": "agent"})
        with Hypervisor(is_reachable=False, reach=(server.settings.port,)) as hypervisor:
            yield Site(server=server, hypervisor=hypervisor, cluster_id=cluster.id)


def test_a_service_is_reached_through_the_tunnel_and_nothing_beside_it(tmp_path: Path) -> None:
    url, beside = "http://127.0.0.1:9001", "http://127.0.0.1:9002"
    with far_site(tmp_path / "home", url) as site:
        assert site.get(url).status_code == 503
        first = site.token()
        context = SERVICE.format(port=9001) + SERVICE.format(port=9002)
        guest = site.agent(first, before=context, targets="--target 127.0.0.1:9001")
        reached(site, guest, url)
        assert site.get(url).text == "inside\n"
        assert site.get(beside).status_code == 502
        assert site.get(url, password="a guess").status_code == 407
        with pytest.raises(httpx.ConnectError):
            httpx.get("http://127.0.0.1:9001/api/here", trust_env=False)

        renewed = guest.read("/tokens/token").strip()
        assert renewed.startswith(f"cdg_{site.cluster_id}.")

        site.server.kill("api")
        site.server.start("api")
        reached(site, guest, url)
        assert first not in guest.console + site.server.log("api")


def reached(site: Site, guest: Guest, url: str) -> None:
    """Waits until the service answers; for a while, the proxy may not be there either."""

    def answers() -> bool:
        with suppress(httpx.TransportError):
            return site.get(url).status_code == 200
        return False

    wait(answers, BOOT_SECONDS, site, guest)


def wait(condition: Callable[[], bool], seconds: float, site: Site, guest: Guest) -> None:
    try:
        eventually(condition, seconds, "in vain")
    except TimeoutError:
        with site.server.client() as client:
            pytest.fail(f"{client.clusters.get('far')}\n{guest.console}\n{site.server.log('api')[-3000:]}")


def test_an_agent_with_a_wrong_token_stays_outside(tmp_path: Path) -> None:
    url = "http://127.0.0.1:9001"
    with far_site(tmp_path / "home", url) as site:
        guest = site.agent(
            "cdg_far.99999999999.0", before=SERVICE.format(port=9001), targets="--target 127.0.0.1:9001"
        )
        eventually(lambda: guest.console.count("no tunnel") >= 2, BOOT_SECONDS, "the agent gave up")
        assert "HTTP 403" in guest.console
        assert site.get(url).status_code == 503


def test_a_ray_cluster_that_nobody_can_dial_runs_a_job(tmp_path: Path) -> None:
    require_part("ray", find_spec("ray") is not None, "it is not installed")
    with (
        far_site(tmp_path / "home", "http://127.0.0.1:8265", RAY_TOKEN) as site,
        site.server.client() as client,
    ):
        guest = site.agent(site.token(), before=RAY_START, targets="--target 127.0.0.1:8265")
        wait(lambda: client.clusters.get("far").state == "ready", 150, site, guest)
        job = client.jobs.submit(JobSpec(name="far-away", entrypoint="hostname; echo done"))
        ended = job.wait(timeout_seconds=150)
        assert ended.state == "succeeded", guest.console
        assert list(job.logs()) == ["site", "done"]


def test_a_service_that_nobody_can_dial_answers_through_the_gateway(tmp_path: Path) -> None:
    require_part("ray", find_spec("ray") is not None, "it is not installed")
    code = tmp_path / "code"
    code.mkdir()
    (code / "times.py").write_text(CODE)
    ports = free_port(), free_port()
    with (
        far_site(tmp_path / "home", "http://127.0.0.1:8265", RAY_TOKEN, ports=ports) as site,
        site.server.client() as client,
    ):
        targets = f"--target 127.0.0.1:8265 --target {namespaces.SEGMENTS}:1024-65535"
        guest = site.agent(site.token(), before=RAY_START, targets=targets)
        wait(lambda: client.clusters.get("far").state == "ready", 150, site, guest)
        site.server.start("gateway")
        spec = {"name": "times", "import_path": "times:Times", "resources": {"cpus": 0.1}}
        service = client.services.deploy(spec, working_dir=code)
        wait(lambda: client.services.get(service.id).phase == "ready", 150, site, guest)
        (replica,) = client.services.replicas(service.id)
        assert replica.url is not None
        assert replica.url.startswith(f"https://{guest.address}:")
        with pytest.raises(httpx.TransportError):
            httpx.get(replica.url, trust_env=False, verify=False, timeout=2)  # noqa: S501 - nobody is there

        wait(lambda: asked(site).status_code == 200, 20, site, guest)
        assert [asked(site).json()["outputs"][0]["data"] for _ in range(3)] == [[6, 8]] * 3
        assert inferred(site) == [6, 8]


def asked(site: Site) -> httpx.Response:
    url = f"{site.server.settings.gateway_url}/default/times/v2/models/times/infer"
    headers = {"Authorization": f"Bearer {site.server.admin_token}"}
    return httpx.post(url, json=TENSOR, headers=headers, trust_env=False, timeout=30)


def inferred(site: Site) -> list[int]:
    """The same over gRPC."""
    request = message("ModelInferRequest")(model_name="times", id="1")
    request.inputs.add(name="x", datatype="INT64", shape=[2]).contents.int64_contents.extend([3, 4])
    metadata = (
        ("crossdock-service", "default/times"),
        ("authorization", f"Bearer {site.server.admin_token}"),
    )
    address = f"127.0.0.1:{site.server.settings.gateway_grpc_port}"
    with grpc.insecure_channel(address, (("grpc.enable_http_proxy", 0),)) as channel:
        infer = channel.unary_unary(
            f"/{INFERENCE}/ModelInfer",
            request_serializer=message("ModelInferRequest").SerializeToString,
            response_deserializer=message("ModelInferResponse").FromString,
        )
        answer = infer(request, metadata=metadata, timeout=30)
    return list(answer.outputs[0].contents.int64_contents)
