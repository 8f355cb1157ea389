"""Completions: the paths that OpenAI's clients ask, for models that write text."""

import time
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final

from aiohttp import web

from .server import Replica, body_of, streamed
from .tensors import BadRequest

# `Any`: JSON values.

MOST_TOKENS: Final = 1_000_000
DEFAULT_TOKENS: Final = 128


def add_to(app: web.Application, replica: Replica) -> None:
    paths = Completions(replica)
    app.router.add_get("/v1/models", paths.models)
    app.router.add_post("/v1/completions", paths.complete)
    app.router.add_post("/v1/chat/completions", paths.chat)


class Completions:
    def __init__(self, replica: Replica) -> None:
        self._replica = replica

    async def models(self, _request: web.Request) -> web.Response:
        model = {"id": self._replica.surroundings.name, "object": "model", "owned_by": "crossdock"}
        return web.json_response({"object": "list", "data": [model]})

    async def complete(self, request: web.Request) -> web.StreamResponse:
        body = await _object(request)
        prompt = body.get("prompt", "")
        if not isinstance(prompt, str):
            raise BadRequest("`prompt` must be one text")
        return await self._answer(request, body, prompt, _Plain(self._replica.surroundings.name))

    async def chat(self, request: web.Request) -> web.StreamResponse:
        body = await _object(request)
        prompt = prompt_of(body.get("messages"))
        return await self._answer(request, body, prompt, _Chat(self._replica.surroundings.name))

    async def _answer(
        self, request: web.Request, body: Mapping[str, Any], prompt: str, form: "_Plain | _Chat"
    ) -> web.StreamResponse:
        replica = self._replica
        tokens, temperature = _numbers(body)
        async with replica.gate.entered():
            pieces = replica.pieces(
                replica.model.generate(prompt, max_tokens=tokens, temperature=temperature)
            )
            if body.get("stream"):
                return await streamed(request, _chunks(pieces, form), last="[DONE]")
            parts = [piece async for piece in pieces]
            return web.json_response(form.whole(prompt, parts, "length" if len(parts) >= tokens else "stop"))


class _Plain:
    """What `/v1/completions` answers with."""

    def __init__(self, model: str) -> None:
        self._id = f"cmpl-{uuid.uuid4().hex}"
        self._model = model
        self._created = int(time.time())

    def chunk(self, piece: str | None) -> dict[str, Any]:
        end = "stop" if piece is None else None
        return self._form("text_completion", [{"index": 0, "text": piece or "", "finish_reason": end}])

    def whole(self, prompt: str, parts: Sequence[str], end: str) -> dict[str, Any]:
        choice = {"index": 0, "text": "".join(parts), "finish_reason": end}
        return self._form("text_completion", [choice]) | {"usage": usage(prompt, parts)}

    def _form(self, kind: str, choices: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        return {
            "id": self._id,
            "object": kind,
            "created": self._created,
            "model": self._model,
            "choices": list(choices),
        }


class _Chat(_Plain):
    """What `/v1/chat/completions` answers with."""

    def chunk(self, piece: str | None) -> dict[str, Any]:
        delta = {} if piece is None else {"content": piece}
        end = "stop" if piece is None else None
        return self._form("chat.completion.chunk", [{"index": 0, "delta": delta, "finish_reason": end}])

    def whole(self, prompt: str, parts: Sequence[str], end: str) -> dict[str, Any]:
        message = {"role": "assistant", "content": "".join(parts)}
        choice = {"index": 0, "message": message, "finish_reason": end}
        return self._form("chat.completion", [choice]) | {"usage": usage(prompt, parts)}


def prompt_of(messages: Any) -> str:  # noqa: ANN401
    """Role by role, and the assistant's turn at the end. Raises `BadRequest`."""
    if not isinstance(messages, list) or not messages:
        raise BadRequest("`messages` must be a list with at least one message")
    lines = []
    for message in messages:
        match message:
            case {"role": str(role), "content": str(content)}:
                lines.append(f"{role}: {content}\n")
            case _:
                raise BadRequest("a message needs `role` and `content`, both texts")
    return "".join([*lines, "assistant:"])


def usage(prompt: str, parts: Sequence[str]) -> dict[str, int]:
    """In the model's pieces; the prompt, which only the model can split, in its words."""
    asked, said = len(prompt.split()), len(parts)
    return {"prompt_tokens": asked, "completion_tokens": said, "total_tokens": asked + said}


async def _chunks(pieces: AsyncIterator[str], form: _Plain) -> AsyncIterator[dict[str, Any]]:
    async for piece in pieces:
        yield form.chunk(piece)
    yield form.chunk(None)


async def _object(request: web.Request) -> Mapping[str, Any]:
    body = await body_of(request)
    if not isinstance(body, Mapping):
        raise BadRequest("the body must be an object")
    return body


def _numbers(body: Mapping[str, Any]) -> tuple[int, float]:
    tokens = body.get("max_completion_tokens", body.get("max_tokens")) or DEFAULT_TOKENS
    temperature = body.get("temperature")
    temperature = 1.0 if temperature is None else temperature
    if not isinstance(tokens, int) or not 1 <= tokens <= MOST_TOKENS:
        raise BadRequest(f"`max_tokens` must be 1 to {MOST_TOKENS}")
    if not isinstance(temperature, int | float) or not temperature >= 0:
        raise BadRequest("`temperature` must be 0 or more")
    return tokens, float(temperature)
