"""A client that speaks HTTP to the app in this process, without a socket."""

import asyncio
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import httpx
import pytest
from fastapi import APIRouter, FastAPI

from controlplane.api.app import bare_app, create_app
from controlplane.operations.context import Context
from tests.databases import DIALECTS

PROBLEM = "application/problem+json"

BOTH = pytest.mark.parametrize("plane", DIALECTS, indirect=True)
"""Runs a test on both databases: for what they might do differently."""


def app_over(context: Context) -> FastAPI:
    """As `create_app` makes it, on routes that all tests share: to work them out anew costs most of a test."""
    app = create_app(context)
    app.router = _routes()
    return app


@cache
def _routes() -> APIRouter:
    return bare_app().router


@dataclass(slots=True)
class Api:
    app: FastAPI
    token: str | None
    headers: dict[str, str] = field(default_factory=dict)

    def get(self, path: str, **options: Any) -> httpx.Response:  # noqa: ANN401 - httpx's
        return self.send("GET", path, **options)

    def post(self, path: str, json: object = None, **options: Any) -> httpx.Response:  # noqa: ANN401 - httpx's
        if json is not None:
            options["json"] = json
        return self.send("POST", path, **options)

    def send(self, method: str, path: str, **options: Any) -> httpx.Response:  # noqa: ANN401 - httpx's
        bearer = {} if self.token is None else {"Authorization": f"Bearer {self.token}"}
        headers = {**bearer, **self.headers, **options.pop("headers", {})}

        async def exchange() -> httpx.Response:
            transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://plane") as client:
                return await client.request(method, path, headers=headers, **options)

        return asyncio.run(exchange())

    def as_token(self, token: str | None) -> "Api":
        return Api(self.app, token)


def problem(response: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """The first field of a problem, after checking that it is one."""
    assert (response.status_code, response.headers["content-type"]) == (status, PROBLEM), response.text
    document: dict[str, Any] = response.json()
    assert document["type"] == f"/problems/{code}"
    assert (document["code"], document["status"]) == (code, status)
    assert document["detail"]
    assert document["title"]
    assert document["instance"] == response.headers["x-request-id"]
    fields: list[dict[str, Any]] = document["fields"]
    return fields[0] if fields else {}
