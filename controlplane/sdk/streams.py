"""Server-sent events, followed across lost connections."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from controlplane.sdk.errors import Unreachable
from controlplane.sdk.patience import Patience
from controlplane.sdk.transport import Params, Transport


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    data: str
    id: str | None = None
    """Sent back as Last-Event-ID, it makes the server go on behind this message."""


def follow(
    transport: Transport,
    path: str,
    *,
    params: Params,
    patience_seconds: float,
    is_over: Callable[[], bool],
    last_id: str | None = None,
) -> Iterator[Message]:
    """Ends when a stream that was opened while `is_over` ends by itself: then nothing is missing.

    Raises `Unreachable` when no server could be reached for `patience_seconds`.
    """
    patience = Patience(patience_seconds)
    while True:
        try:
            last_stream = is_over()
            with transport.stream(path, params=params, last_id=last_id) as pieces:
                patience.found()
                for message in messages(pieces):
                    patience.reset()
                    last_id = message.id or last_id
                    yield message
            if last_stream:
                return
            patience.pause(Unreachable(f"the server ended {path} before its end"))
        except Unreachable as failure:
            patience.pause(failure)


def messages(pieces: Iterable[bytes]) -> Iterator[Message]:
    """Reads the event-stream format. A message cut off by the end of the stream is dropped."""
    waiting = b""
    for piece in pieces:
        *whole, waiting = (waiting + piece).replace(b"\r\n", b"\n").split(b"\n\n")
        for block in whole:
            if (message := _message(block.decode(errors="replace"))) is not None:
                yield message


def _message(block: str) -> Message | None:
    # split, not splitlines: data may hold characters that splitlines takes for line ends.
    fields = [line.partition(":") for line in block.split("\n")]
    data = [value.removeprefix(" ") for name, _, value in fields if name == "data"]
    ids = [value.removeprefix(" ") for name, _, value in fields if name == "id"]
    return Message(data="\n".join(data), id=ids[-1] if ids else None) if data else None
