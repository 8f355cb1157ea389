"""The serving program over real sockets: tensors, plain JSON, streams, completions, gRPC, and a stop without a loss."""

import asyncio
import itertools
import json
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, Final

import grpc
import pytest
from aiohttp import ClientSession

from controlplane.recipes.serving import server
from controlplane.recipes.serving.__main__ import serve
from controlplane.recipes.serving.gangs import PeerLost
from controlplane.recipes.serving.gates import Gate
from controlplane.recipes.serving.inference_messages import SERVICE, message
from controlplane.recipes.serving.server import BUSY_HEADER, DRAINING_HEADER, Replica
from controlplane.recipes.serving.surroundings import Gang, Surroundings
from controlplane.recipes.serving.tensors import Tensor, outputs_of

pytestmark = pytest.mark.sockets

KEY: Final = "cdr_key"
SUM: Final = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [2], "data": [1, 2]}]}

# JSON values, and protobuf's messages, which ship no types.
Value = Any


class Told:
    """A model that does what the payload says."""

    platform = "test"
    generates = True

    def __init__(self) -> None:
        self.held = threading.Event()
        self.go = threading.Event()

    def infer(self, inputs: Value) -> list[Tensor] | Iterator[Any]:
        if -1 in inputs["x"].nested():
            raise PeerLost("rank 1 is gone")
        return outputs_of({"sum": [sum(inputs["x"].nested())]})

    def call(self, payload: Value) -> Value:
        match payload:
            case "stream":
                return (each for each in (1, 2))
            case "endless stream":
                return ("x" * 100_000 for _ in itertools.count())
            case "broken stream":
                return self.breaks_off()
            case "lose a rank":
                raise PeerLost("rank 1 is gone")
            case "lose a rank in a stream":
                return self.loses_a_rank()
            case "hold":
                self.held.set()
                self.go.wait(10)
                return "held"
            case "fail":
                raise LookupError("nowhere")
            case _:
                return {"said": payload}

    def breaks_off(self) -> Iterator[int]:
        yield 1
        raise LookupError("half way")

    def loses_a_rank(self) -> Iterator[int]:
        yield 1
        raise PeerLost("rank 1 is gone")

    def generate(self, prompt: str, *, max_tokens: int, temperature: float) -> Iterator[str]:
        del temperature
        yield from prompt.split()[:max_tokens]

    def warm_up(self) -> None:
        pass


def surroundings(folder: Path, **changes: object) -> Surroundings:
    given: dict[str, Any] = {
        "kind": Surroundings,
        "name": "m",
        "revision": "7",
        "import_path": None,
        "config": {},
        "artifacts": (),
        "concurrency": 1,
        "request_bytes": 10_000,
        "key": KEY,
        "identity": None,
        "host": "127.0.0.1",
        "grace_seconds": 11.0,
        "records": folder / "records",
        "gang": Gang(),
        **changes,
    }
    kind: type[Surroundings] = given.pop("kind")
    return kind(**given)


def served(
    folder: Path, use: Callable[["Caller"], Awaitable[None]], **changes: object
) -> list[dict[str, Any]]:
    """Runs the program around what a caller does to it, and returns what it announced."""

    async def run() -> None:
        own = surroundings(folder, **changes)
        replica = Replica(own, Told(), Gate(own.concurrency))
        serving = asyncio.create_task(serve(replica))
        await until(lambda: replica.is_ready or serving.done())
        if serving.done():
            await serving
        async with ClientSession(headers={"Authorization": f"Bearer {KEY}"}) as session:
            await use(Caller(replica, session, announced(folder)[0], serving))
        replica.over.set()
        await serving

    asyncio.run(run())
    return announced(folder)


def announced(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "records").read_text().splitlines()]


class Caller:
    def __init__(
        self, replica: Replica, session: ClientSession, said: dict[str, Any], serving: asyncio.Task[None]
    ) -> None:
        self.replica = replica
        self.session = session
        self.said = said
        self.serving = serving

    async def post(self, path: str, body: object, **options: Value) -> tuple[int, str]:
        async with self.session.post(f"{self.said['url']}{path}", json=body, **options) as answer:
            return answer.status, await answer.text()


def test_tensors_and_plain_json_are_answered_and_ready_is_said_when_it_is_true(tmp_path: Path) -> None:
    async def use(caller: Caller) -> None:
        status, text = await caller.post("/v2/models/m/infer", {"id": "a", **SUM})
        assert (status, json.loads(text)) == (
            200,
            {
                "id": "a",
                "model_name": "m",
                "model_version": "7",
                "outputs": [{"name": "sum", "datatype": "FP64", "shape": [1], "data": [3.0]}],
            },
        )
        assert await caller.post("/invoke", [1]) == (200, '{"said": [1]}')

    first, last = served(tmp_path, use)
    assert (first["kind"], first["ready"], last["ready"], first["url"]) == (
        "endpoint",
        True,
        False,
        last["url"],
    )


@pytest.mark.parametrize(
    ("path", "body", "status", "said"),
    [
        ("/v2/models/m/infer", {}, 400, "the body needs `inputs`"),
        ("/v2/models/m/infer", {"inputs": [{"name": "x"}]}, 400, "an input needs `name`"),
        (
            "/v2/models/m/infer",
            {"inputs": [{"name": "x", "datatype": "FP32", "shape": [3], "data": [1]}]},
            400,
            "has 1 values, its shape [3] 3",
        ),
        ("/v2/models/other/infer", SUM, 404, ""),
        ("/invoke", "fail", 500, "LookupError: nowhere"),
        ("/invoke", "x" * 20_000, 413, ""),
        ("/v1/chat/completions", {"messages": []}, 400, "`messages` must be"),
        ("/v1/completions", {"prompt": "a", "max_tokens": -1}, 400, "`max_tokens` must be"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, path: str, body: object, status: int, said: str) -> None:
    async def use(caller: Caller) -> None:
        code, text = await caller.post(path, body)
        assert (code, said in text) == (status, True), text

    served(tmp_path, use)


def test_only_who_knows_the_key_is_answered(tmp_path: Path) -> None:
    async def use(caller: Caller) -> None:
        for header in ("", "Bearer ", "Bearer cdr_other", KEY[:-1]):
            code, _ = await caller.post("/invoke", 1, headers={"Authorization": header})
            assert code == 401
        async with caller.session.get(
            f"{caller.said['url']}/v2/health/live", headers={"Authorization": ""}
        ) as answer:
            assert answer.status == 200

    served(tmp_path, use)


def test_who_takes_nothing_of_a_stream_gives_its_place_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "TAKEN_SECONDS", 0.1)

    async def use(caller: Caller) -> None:
        stream = caller.session.post(f"{caller.said['url']}/invoke", json="endless stream")
        async with stream as idle, asyncio.timeout(10):
            assert idle.status == 200
            while (answer := await caller.post("/invoke", 1))[0] == 503:  # noqa: ASYNC110 - rings no bell
                await asyncio.sleep(0.01)  # poll
            assert answer == (200, '{"said": 1}')

    served(tmp_path, use)


def test_streams_are_events_and_one_that_breaks_says_so(tmp_path: Path) -> None:
    async def use(caller: Caller) -> None:
        assert await caller.post("/invoke", "stream") == (200, "data: 1\n\ndata: 2\n\n")
        _, text = await caller.post("/invoke", "broken stream")
        error = 'event: error\ndata: {"error": {"message": "LookupError: half way"}}\n\n'
        assert text == f"data: 1\n\n{error}"

    served(tmp_path, use)


def test_text_is_completed_whole_and_in_pieces(tmp_path: Path) -> None:
    async def use(caller: Caller) -> None:
        _, text = await caller.post("/v1/completions", {"prompt": "a b c", "max_tokens": 2})
        (choice,) = json.loads(text)["choices"]
        assert choice == {"index": 0, "text": "ab", "finish_reason": "length"}
        chat = {"messages": [{"role": "user", "content": "hi"}], "stream": True}
        _, text = await caller.post("/v1/chat/completions", chat)
        events = [each.removeprefix("data: ") for each in text.strip().split("\n\n")]
        pieces = [json.loads(each)["choices"][0]["delta"].get("content", "") for each in events[:-1]]
        assert (pieces, events[-1]) == (["user:", "hi", "assistant:", ""], "[DONE]")

    served(tmp_path, use)


def test_a_stop_ends_what_is_under_way_and_sends_everybody_else_away(tmp_path: Path) -> None:
    async def use(caller: Caller) -> None:
        model: Any = caller.replica.model
        held = asyncio.create_task(caller.post("/invoke", "hold"))
        await asyncio.to_thread(model.held.wait, 10)
        async with caller.session.post(f"{caller.said['url']}/invoke", json=1) as answer:
            assert (answer.status, answer.headers[BUSY_HEADER]) == (503, "1"), "it takes one at a time"
        caller.replica.over.set()
        await until(lambda: not announced(tmp_path)[-1]["ready"])
        async with caller.session.post(f"{caller.said['url']}/invoke", json=1) as answer:
            assert (answer.status, answer.headers[DRAINING_HEADER]) == (503, "1")
        assert not caller.serving.done()
        model.go.set()
        assert await held == (200, '"held"')

    served(tmp_path, use)


def test_who_loses_a_rank_answers_with_an_error_and_sends_only_newcomers_away(tmp_path: Path) -> None:
    async def use(caller: Caller) -> None:
        model: Any = caller.replica.model
        held = asyncio.create_task(caller.post("/invoke", "hold"))  # so that it is not over at once
        await asyncio.to_thread(model.held.wait, 10)
        url = f"{caller.said['url']}/invoke"
        async with caller.session.post(url, json="lose a rank") as answer:
            assert (answer.status, await answer.json()) == (500, {"error": "PeerLost: rank 1 is gone"})
            assert DRAINING_HEADER not in answer.headers, (
                "it was worked on: to repeat it may kill the next replica"
            )
        async with caller.session.post(url, json=1) as answer:
            assert (answer.status, answer.headers[DRAINING_HEADER]) == (503, "1")
        model.go.set()
        assert await held == (200, '"held"')

    served(tmp_path, use, concurrency=2)


async def _lose_by_rest(caller: Caller) -> None:
    assert (await caller.post("/invoke", "lose a rank"))[0] == 500


async def _lose_in_a_stream(caller: Caller) -> None:
    status, text = await caller.post("/invoke", "lose a rank in a stream")
    assert (status, "PeerLost: rank 1 is gone" in text) == (200, True)


async def _lose_by_grpc(caller: Caller) -> None:
    request = message("ModelInferRequest")(model_name="m")
    tensor = request.inputs.add(name="x", datatype="FP32", shape=[1])
    tensor.contents.fp32_contents.append(-1.0)
    async with grpc.aio.insecure_channel(caller.said["grpc"]) as channel:
        allowed = (("authorization", f"Bearer {KEY}"),)
        code = await code_of(method(channel, "ModelInfer")(request, metadata=allowed))
    assert code is grpc.StatusCode.UNKNOWN


@pytest.mark.parametrize("lose", [_lose_by_rest, _lose_in_a_stream, _lose_by_grpc])
def test_a_gang_that_lost_a_rank_is_over_however_it_was_asked(
    tmp_path: Path, lose: Callable[[Caller], Awaitable[None]]
) -> None:
    async def use(caller: Caller) -> None:
        await lose(caller)
        replica = caller.replica
        assert (replica.over.is_set(), replica.is_broken, replica.gate.is_draining) == (True, True, True)

    served(tmp_path, use)


def test_a_stop_does_not_outlast_the_grace(tmp_path: Path) -> None:
    async def use(caller: Caller) -> None:
        model: Any = caller.replica.model
        held = asyncio.create_task(caller.post("/invoke", "hold"))
        await asyncio.to_thread(model.held.wait, 10)
        caller.replica.over.set()
        await asyncio.wait_for(caller.serving, 9)
        model.go.set()
        held.cancel()

    served(tmp_path, use, grace_seconds=1.05)


def test_grpc_gives_the_same_answer_through_the_same_door(tmp_path: Path) -> None:
    async def use(caller: Caller) -> None:
        async with grpc.aio.insecure_channel(caller.said["grpc"]) as channel:
            infer = method(channel, "ModelInfer")
            allowed = (("authorization", f"Bearer {KEY}"),)
            request = message("ModelInferRequest")(model_name="m", id="a")
            tensor = request.inputs.add(name="x", datatype="FP32", shape=[2])
            tensor.contents.fp32_contents.extend([1.0, 2.0])
            answer = await infer(request, metadata=allowed)
            assert (answer.id, list(answer.outputs[0].contents.fp64_contents)) == ("a", [3.0])
            tensor.ClearField("contents")
            request.raw_input_contents.append(b"\0\0\x80\x3f\0\0\0\x40")
            assert list((await infer(request, metadata=allowed)).outputs[0].contents.fp64_contents) == [3.0]
            assert await code_of(infer(request)) is grpc.StatusCode.UNAUTHENTICATED
            tensor.shape[0] = 3
            assert await code_of(infer(request, metadata=allowed)) is grpc.StatusCode.INVALID_ARGUMENT
            ready = method(channel, "ServerReady")
            assert (await ready(message("ServerReadyRequest")(), metadata=allowed)).ready

    served(tmp_path, use)


def method(channel: Value, name: str) -> Value:
    return channel.unary_unary(
        f"/{SERVICE}/{name}",
        request_serializer=message(f"{name}Request").SerializeToString,
        response_deserializer=message(f"{name}Response").FromString,
    )


async def code_of(call: Value) -> grpc.StatusCode:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call
    return refused.value.code()


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not holds():  # noqa: ASYNC110 - what is awaited knows of no event
            await asyncio.sleep(0.01)  # poll
