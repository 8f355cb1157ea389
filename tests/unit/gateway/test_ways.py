"""The gateway's own paths."""

import json

import pytest
from aiohttp import web

from tests.unit.gateway.stage import Replica, play, revision, service, staged

pytestmark = pytest.mark.sockets


def test_the_name_of_the_model_says_which_service_is_meant() -> None:
    async def speaks(request: web.Request) -> web.StreamResponse:
        return web.json_response({"path": request.path, **json.loads(await request.content.read())})

    async def scene() -> None:
        replica = Replica("a", speaks)
        async with staged(replica) as stage:
            await stage.offer(service(revision(1, replica.backend), name="poet"))
            question = {"model": "vision/poet", "messages": []}
            asked = await stage.ask("POST", "/v1/chat/completions", json=question)
            unknown = await stage.ask("POST", "/v1/completions", json={"model": "vision/nobody"})
            nameless = await stage.ask("POST", "/v1/completions", json={"model": "gpt"})
        assert asked == (200, {"path": "/v1/chat/completions", "model": "poet", "messages": []})
        assert (unknown[0], nameless[0]) == (404, 422)

    play(scene())


def test_models_are_those_that_the_caller_may_call() -> None:
    async def scene() -> None:
        async with staged() as stage:
            await stage.offer(service(revision(1)), service(revision(1), name="shut", is_open=False))
            stage.plane.let_in("mine")
            anybody = await stage.ask("GET", "/v1/models")
            mine = await stage.ask("GET", "/v1/models", headers={"Authorization": "Bearer mine"})
        assert [each["id"] for each in anybody[1]["data"]] == ["vision/digits"]
        assert [each["id"] for each in mine[1]["data"]] == ["vision/digits", "vision/shut"]

    play(scene())


def test_metrics_are_for_those_who_see_all_projects() -> None:
    async def scene() -> None:
        replica = Replica("a")
        async with staged(replica) as stage:
            await stage.offer(service(revision(1, replica.backend)))
            stage.plane.let_in("mine")
            stage.plane.let_in("all", project_id=None)
            await stage.ask("GET", "/vision/digits/x")
            nobody, mine, everybody = [
                await stage.ask("GET", "/metrics", headers={"Authorization": f"Bearer {who}"})
                for who in ("nobody", "mine", "all")
            ]
        assert (nobody[0], mine[0], everybody[0]) == (401, 403, 200)
        labels = 'service="vision/digits",revision="revision-1"'
        assert f"crossdock_gateway_requests_total{{{labels}}} 1\n" in everybody[1]
        assert f'crossdock_gateway_latency_seconds_bucket{{{labels},le="+Inf"}} 1\n' in everybody[1]

    play(scene())


def test_a_gateway_is_ready_once_it_knows_the_services() -> None:
    async def scene() -> None:
        async with staged() as stage:
            assert await stage.ask("GET", "/healthz") == (200, {"ok": True})
            assert await stage.ask("GET", "/readyz") == (200, {"ready": True})

    play(scene())
