"""The least that an HTTP server can do: a bare ASGI application that sends back what it got."""

from collections.abc import Awaitable, Callable
from typing import Any

Message = dict[str, Any]  # ASGI's own mapping: its values depend on its type


async def app(
    scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
) -> None:
    """Run without lifespan: `uvicorn --lifespan off`."""
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": f"{scope['type']}.response.start", "status": 200, "headers": headers})
    await send({"type": f"{scope['type']}.response.body", "body": body})
