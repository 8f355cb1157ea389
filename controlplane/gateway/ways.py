"""Ways: the paths of a gateway that are its own, and not those of a service."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from aiohttp import web

from controlplane.domain.errors import Forbidden, TooLarge, Unavailable, UserError
from controlplane.domain.ids import ProjectId
from controlplane.gateway import openai
from controlplane.gateway.bodies import held
from controlplane.gateway.callers import Callers
from controlplane.gateway.calls import bearer
from controlplane.gateway.directory import Directory
from controlplane.gateway.feed import Feed
from controlplane.gateway.loads import Loads
from controlplane.gateway.metrics import CONTENT_TYPE, exposition
from controlplane.gateway.rest import Rest, Visit, Way, whole

MOST_OPENAI_BYTES: Final = 16 * 1024 * 1024
"""Before the model's name is read, nobody knows the service and its limit."""

ARRIVAL_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Ways:
    directory: Directory
    loads: Loads
    callers: Callers
    feed: Feed

    def of(self, rest: Callable[[], Rest]) -> Mapping[str, Way]:
        async def generation(visit: Visit) -> web.StreamResponse:
            return await self._generation(rest(), visit)

        return {
            "/healthz": self._healthz,
            "/readyz": self._readyz,
            "/metrics": self._metrics,
            openai.MODELS: self._models,
            **dict.fromkeys(openai.GENERATIONS, generation),
        }

    async def _healthz(self, _visit: Visit) -> web.StreamResponse:
        """An outage is no illness; what the gateway cannot follow though it is told is one."""
        if self.feed.fault is not None:
            raise Unavailable(f"changes of services are not followed: {self.feed.fault}")
        return _json({"ok": True})

    async def _readyz(self, _visit: Visit) -> web.StreamResponse:
        """Once the services are known; an outage of the database later does not end that."""
        if not self.feed.is_fresh:
            raise Unavailable("the services are not known yet")
        return _json({"ready": True})

    async def _metrics(self, visit: Visit) -> web.StreamResponse:
        """Names services of all projects, so it is for those who see all of them."""
        principal = await self.callers.principal(bearer(visit.request.headers))
        if principal.project_id is not None:
            raise Forbidden("metrics are of all projects, and this token is bound to one")
        body = exposition(self.directory, self.loads).encode()
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE})

    async def _models(self, visit: Visit) -> web.StreamResponse:
        secret = bearer(visit.request.headers)
        routes = [desk.route for desk in self.directory]
        seen = [each for each in routes if each.is_open or await self._may_call(secret, each.project_id)]
        return web.Response(body=openai.listing(seen), content_type="application/json")

    async def _may_call(self, secret: str | None, project_id: ProjectId) -> bool:
        try:
            await self.callers.caller(secret, project_id)
        except UserError:
            return False
        return True

    async def _generation(self, rest: Rest, visit: Visit) -> web.StreamResponse:
        content = await whole(visit, _check_size, ARRIVAL_SECONDS)
        project, name, document = openai.model_of(content)
        call = await rest.call(visit, project, name)
        call.check_size(len(content))
        return await rest.pass_on(visit, call, visit.entry.path, held(openai.for_replica(document, name)))


def _check_size(size_bytes: int) -> None:
    if size_bytes > MOST_OPENAI_BYTES:
        raise TooLarge(
            f"is larger than {MOST_OPENAI_BYTES} bytes",
            field="body",
            value=size_bytes,
            limit=MOST_OPENAI_BYTES,
        )


def _json(document: object) -> web.Response:
    return web.Response(text=json.dumps(document), content_type="application/json")
