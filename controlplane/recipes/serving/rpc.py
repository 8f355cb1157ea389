"""The gRPC server: the Open Inference Protocol v2, beside the HTTP server and through the same gate."""

import inspect
import struct
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

import grpc

from .gates import Draining, Full
from .inference_messages import SERVICE, message
from .server import BUSY_HEADER, DRAINING_HEADER, Replica
from .surroundings import Identity
from .tensors import BadRequest, Tensor

# `Any`: protobuf's messages and grpc's contexts ship no types.

CONTENTS: Final = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}
RAW: Final = {
    "BOOL": "?",
    "INT8": "b",
    "INT16": "h",
    "INT32": "i",
    "INT64": "q",
    "UINT8": "B",
    "UINT16": "H",
    "UINT32": "I",
    "UINT64": "Q",
    "FP16": "e",
    "FP32": "f",
    "FP64": "d",
}
Call = Callable[[Any, Any], Awaitable[Any]]


async def start(replica: Replica, host: str, identity: Identity | None) -> tuple[Any, int]:
    """The server and its port."""
    limit = replica.surroundings.request_bytes
    options = [("grpc.max_receive_message_length", limit), ("grpc.max_send_message_length", -1)]
    server = grpc.aio.server(options=options)
    server.add_generic_rpc_handlers((_handlers(Inference(replica)),))
    address = f"{host}:0" if ":" not in host else f"[{host}]:0"
    if identity is None:
        port = server.add_insecure_port(address)
    else:
        pair = (identity.key.encode(), identity.certificate.encode())
        port = server.add_secure_port(address, grpc.ssl_server_credentials([pair]))
    await server.start()
    return server, port


class Inference:
    def __init__(self, replica: Replica) -> None:
        self._replica = replica

    async def server_live(self, _request: Any, _context: Any) -> Any:  # noqa: ANN401
        return message("ServerLiveResponse")(live=True)

    async def server_ready(self, _request: Any, _context: Any) -> Any:  # noqa: ANN401
        return message("ServerReadyResponse")(ready=self._is_ready)

    async def model_ready(self, _request: Any, _context: Any) -> Any:  # noqa: ANN401
        return message("ModelReadyResponse")(ready=self._is_ready)

    async def server_metadata(self, _request: Any, _context: Any) -> Any:  # noqa: ANN401
        own = self._replica.surroundings
        return message("ServerMetadataResponse")(name=own.name, version=own.revision)

    async def model_metadata(self, _request: Any, _context: Any) -> Any:  # noqa: ANN401
        own = self._replica.surroundings
        return message("ModelMetadataResponse")(
            name=own.name, versions=[own.revision], platform=self._replica.model.platform
        )

    async def model_infer(self, request: Any, context: Any) -> Any:  # noqa: ANN401
        replica = self._replica
        try:
            async with replica.gate.entered():
                answer = await replica.in_thread(replica.model.infer, _inputs(request))
                return self._response(request, _whole(answer))
        except Draining:
            context.set_trailing_metadata(((DRAINING_HEADER, "1"),))
            await context.abort(grpc.StatusCode.UNAVAILABLE, "this replica is being stopped")
        except Full:
            context.set_trailing_metadata(((BUSY_HEADER, "1"),))
            await context.abort(grpc.StatusCode.UNAVAILABLE, "as many requests as it takes are under way")
        except BadRequest as bad:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(bad))

    @property
    def _is_ready(self) -> bool:
        return self._replica.is_ready and not self._replica.gate.is_draining

    def _response(self, request: Any, tensors: Sequence[Tensor]) -> Any:  # noqa: ANN401
        own = self._replica.surroundings
        answer = message("ModelInferResponse")(model_name=own.name, model_version=own.revision, id=request.id)
        for tensor in tensors:
            output = answer.outputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
            values = [each.encode() if isinstance(each, str) else each for each in tensor.data]
            getattr(output.contents, CONTENTS.get(tensor.datatype, "fp32_contents")).extend(values)
        return answer


def _whole(answer: Any) -> Sequence[Tensor]:  # noqa: ANN401
    if inspect.isgenerator(answer):
        answer.close()
        raise BadRequest("this model streams: ask it over HTTP")
    tensors: Sequence[Tensor] = answer
    return tensors


def _handlers(inference: Inference) -> Any:  # noqa: ANN401
    calls: dict[str, Call] = {
        "ServerLive": inference.server_live,
        "ServerReady": inference.server_ready,
        "ModelReady": inference.model_ready,
        "ServerMetadata": inference.server_metadata,
        "ModelMetadata": inference.model_metadata,
        "ModelInfer": inference.model_infer,
    }
    return grpc.method_handlers_generic_handler(
        SERVICE,
        {
            name: grpc.unary_unary_rpc_method_handler(
                _guarded(inference, call),
                request_deserializer=message(f"{name}Request").FromString,
                response_serializer=message(f"{name}Response").SerializeToString,
            )
            for name, call in calls.items()
        },
    )


def _guarded(inference: Inference, call: Call) -> Call:
    async def guarded(request: Any, context: Any) -> Any:  # noqa: ANN401
        told = dict(context.invocation_metadata())
        if not inference._replica.admits(told.get("authorization")):  # noqa: SLF001 - of this module
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, "this replica answers its gateway alone")
        return await call(request, context)

    return guarded


def _inputs(request: Any) -> dict[str, Tensor]:  # noqa: ANN401
    raw = list(request.raw_input_contents)
    if raw and len(raw) != len(request.inputs):
        raise BadRequest(f"{len(request.inputs)} inputs need as many raw contents, not {len(raw)}")
    tensors = {}
    for place, given in enumerate(request.inputs):
        data = _raw(given, raw[place]) if raw else _values(given)
        tensors[given.name] = Tensor(given.name, given.datatype, tuple(given.shape), data)
    return tensors


def _values(given: Any) -> list[Any]:  # noqa: ANN401
    field = CONTENTS.get(given.datatype)
    if field is None:
        raise BadRequest(f"input {given.name!r} is {given.datatype}; known are {', '.join(sorted(CONTENTS))}")
    values = list(getattr(given.contents, field))
    return [each.decode() for each in values] if given.datatype == "BYTES" else values


def _raw(given: Any, content: bytes) -> list[Any]:  # noqa: ANN401
    """Little-endian, one after the other; texts each behind its length in four bytes."""
    if given.datatype == "BYTES":
        return _texts(content)
    kind = RAW.get(given.datatype)
    if kind is None or len(content) % struct.calcsize(f"<{kind}"):
        raise BadRequest(f"input {given.name!r}: {len(content)} bytes are no {given.datatype} values")
    return list(struct.unpack(f"<{len(content) // struct.calcsize(f'<{kind}')}{kind}", content))


def _texts(content: bytes) -> list[str]:
    texts, at = [], 0
    while at < len(content):
        (length,) = struct.unpack_from("<I", content, at)
        texts.append(content[at + 4 : at + 4 + length].decode())
        at += 4 + length
    return texts
