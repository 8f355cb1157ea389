"""The feed: what goes wrong in it is told, ends nothing, and is over when its cause is."""

from typing import Any

import pytest

from controlplane.gateway import feed
from tests.unit.gateway.stage import Replica, play, revision, service, staged, until

pytestmark = pytest.mark.sockets


def test_services_that_cannot_be_followed_leave_the_others_and_are_told_until_they_are_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(feed, "LEAST_SECONDS", 0.01)
    malformed: Any = None

    async def scene() -> None:
        async with staged(one := Replica("one")) as stage:
            good = service(revision(1, one.backend))
            await stage.offer(good)
            stage.plane.services = (good, malformed)
            await until(lambda: stage.gateway.feed.fault is not None)
            status, problem = await stage.ask("GET", "/healthz")
            assert status == 503
            assert "NoneType" in problem["detail"]
            assert (await stage.ask("GET", "/readyz"))[0] == 200
            assert (await stage.ask("POST", "/vision/digits/x"))[0] == 200
            stage.plane.services = (good, service(revision(2, one.backend), name="letters"))
            await until(lambda: stage.gateway.feed.fault is None)
            assert (await stage.ask("GET", "/healthz"))[0] == 200
            assert (await stage.ask("POST", "/vision/letters/x"))[0] == 200

    play(scene())


def test_an_outage_of_the_control_plane_is_no_illness_of_the_gateway() -> None:
    async def scene() -> None:
        async with staged(one := Replica("one")) as stage:
            await stage.offer(service(revision(1, one.backend)))
            stage.plane.is_away = True
            await stage.gateway.feed.read()
            assert (await stage.ask("GET", "/healthz"))[0] == 200

    play(scene())
