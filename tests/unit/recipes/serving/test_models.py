"""What replicas answer with: users' classes, files that are compared first, tensors, and models in two parts."""

import hashlib
import json
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from multiprocessing import AuthenticationError, Pipe
from multiprocessing.connection import Client
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any

import pytest

from controlplane.recipes.serving import artifacts, gangs, models
from controlplane.recipes.serving.artifacts import WrongContent, fetch
from controlplane.recipes.serving.surroundings import Artifact, Gang, read
from controlplane.recipes.serving.tensors import BadRequest, Tensor, inputs_of, outputs_of, tensor_of

CODE = """
class Parts:
    def __init__(self, weights, rank=0, peers=()):
        self.weights, self.rank, self.peers = weights, rank, peers

    def __call__(self, inputs):
        if self.rank:
            return [value + self.weights[self.rank] for value in inputs]
        hidden = [value * self.weights[0] for value in inputs["x"]]
        if self.peers:
            return {"y": self.peers[0](hidden)}
        return {"y": [value + self.weights[1] for value in hidden]}
"""
SERVING = (
    '{"service":"m","model":null,"import_path":"parts:Parts",'
    '"config":{"weights":[3,4]},"concurrency":2,"request_bytes":1000}'
)
ENVIRONMENT = {
    "CROSSDOCK_REPLICA_KEY": "cdr_key",
    "CROSSDOCK_REPLICA_HOST": "127.0.0.1",
}


@pytest.fixture
def code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "parts.py").write_text(CODE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    sys.modules.pop("parts", None)


def answer(model: models.Model) -> list[dict[str, Any]]:
    found = model.infer({"x": Tensor("x", "INT64", (2,), [1, 2])})
    assert isinstance(found, list)
    return [tensor.document() for tensor in found]


def dialled(port: int) -> socket.socket:
    """As soon as somebody listens there."""
    until = time.monotonic() + 10
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port))
        except ConnectionRefusedError:
            if time.monotonic() > until:
                raise
            time.sleep(0.01)  # poll


@pytest.mark.sockets
def test_a_model_in_two_parts_answers_exactly_as_the_whole_one(code: None) -> None:
    own = read(ENVIRONMENT, SERVING)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    second = read(
        ENVIRONMENT | {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)},
        SERVING,
    )
    stage = models.load(second, {})
    other = threading.Thread(target=gangs.follow, args=(second.gang, "cdr_key", stage.call))

    silent: list[socket.socket] = []

    def come() -> None:
        silent.append(dialled(port))  # a stranger who says nothing
        with dialled(port):
            pass  # a stranger who hangs up
        with suppress(AuthenticationError), Client(("127.0.0.1", port), authkey=b"guessed"):
            pass
        other.start()

    before = threading.Thread(target=come)
    before.start()
    peers = gangs.gather(Gang(rank=0, ranks=2, host="127.0.0.1", port=port), "cdr_key")
    assert answer(models.load(own, {}, peers)) == answer(models.load(own, {}))
    with pytest.raises(RuntimeError, match="rank 1: TypeError"):
        peers[0](None)
    peers[0].close()
    before.join(10)
    other.join(10)
    assert not other.is_alive()
    silent[0].close()


def test_a_part_that_is_gone_is_told_apart_from_one_that_fails() -> None:
    own, other = Pipe()
    other.close()
    with pytest.raises(gangs.PeerLost, match="rank 1 is gone"):
        gangs.Peer(1, own)("value")
    own.close()


class Parcel:
    """As torch does with tensors, it has another way between processes of one host."""

    def __init__(self, content: str) -> None:
        self.content = content


def by_hand(parcel: Parcel) -> str:
    raise AssertionError(f"{parcel.content} would stay on this host")


@pytest.mark.sockets
def test_what_stages_hand_on_travels_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ForkingPickler._extra_reducers, Parcel, by_hand)  # type: ignore[attr-defined]
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    gang = [Gang(rank=rank, ranks=2, host="127.0.0.1", port=port) for rank in (0, 1)]

    def stage(parcel: Parcel) -> Parcel:
        return Parcel(f"{parcel.content} and back")

    other = threading.Thread(target=gangs.follow, args=(gang[1], "cdr_key", stage))
    other.start()
    (peer,) = gangs.gather(gang[0], "cdr_key")
    try:
        assert peer(Parcel("there")).content == "there and back"
    finally:
        peer.close()
        other.join(10)


def test_an_artifact_is_taken_only_with_the_content_that_was_published(tmp_path: Path) -> None:
    source = tmp_path / "store" / "weights.bin"
    source.parent.mkdir()
    source.write_bytes(b"weights")
    digest = hashlib.sha256(b"weights").hexdigest()
    good = Artifact(name="weights.bin", uri=source.as_uri(), sha256=digest)
    assert fetch([good], tmp_path / "here")["weights.bin"].read_bytes() == b"weights"
    wrong = Artifact(name="weights.bin", uri=source.as_uri(), sha256="0" * 64)
    with pytest.raises(WrongContent, match=f"has sha256 {digest}, published was 0000"):
        fetch([wrong], tmp_path / "there")
    assert list((tmp_path / "there").iterdir()) == []


@pytest.mark.sockets
def test_a_store_that_says_nothing_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(artifacts, "SILENCE_SECONDS", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        uri = f"http://127.0.0.1:{mute.getsockname()[1]}/weights.bin"
        with pytest.raises(TimeoutError):
            fetch([Artifact(name="weights.bin", uri=uri, sha256="0" * 64)], tmp_path)


def test_an_artifact_is_read_by_its_link_and_otherwise_where_it_lies(tmp_path: Path) -> None:
    for name in ("linked", "lying"):
        (tmp_path / name).write_bytes(name.encode())
    lying = f"file://{tmp_path}/lying"
    serving = SERVING.replace("null", f'{{"artifacts":[{{"name":"m","uri":"{lying}","sha256":"SHA"}}]}}', 1)

    def found(link: str) -> bytes:
        known = {"linked": hashlib.sha256(b"linked"), "gone": hashlib.sha256(b"lying")}[link].hexdigest()
        told = ENVIRONMENT | {"CROSSDOCK_REPLICA_LINKS": json.dumps({lying: f"file://{tmp_path}/{link}"})}
        own = read(told, serving.replace("SHA", known))
        return fetch(own.artifacts, tmp_path / "there")["m"].read_bytes()

    assert (found("linked"), found("gone")) == (b"linked", b"lying")


def test_tensors_nest_as_their_shape_says_whether_they_came_flat_or_not() -> None:
    tensor = {"name": "x", "datatype": "INT64", "shape": [2, 3], "data": [1, 2, 3, 4, 5, 6]}
    nested = tensor | {"data": [[1, 2, 3], [4, 5, 6]]}
    expected = [[1, 2, 3], [4, 5, 6]]
    found = [inputs_of({"inputs": [each]})["x"].nested() for each in (tensor, nested)]
    assert found == [expected, expected]


@pytest.mark.parametrize(
    ("value", "document"),
    [
        ([1, 2.5], {"datatype": "FP64", "shape": [2], "data": [1.0, 2.5]}),
        ([[True], [False]], {"datatype": "BOOL", "shape": [2, 1], "data": [True, False]}),
        ("word", {"datatype": "BYTES", "shape": [], "data": ["word"]}),
        ([], {"datatype": "FP64", "shape": [0], "data": []}),
    ],
)
def test_what_a_model_returns_becomes_a_tensor(value: object, document: dict[str, object]) -> None:
    (tensor,) = outputs_of(value)
    assert tensor.document() == {"name": "output", **document}


def test_what_is_no_tensor_is_refused_with_its_name() -> None:
    with pytest.raises(TypeError, match="output 'a' mixes"):
        tensor_of("a", [1, "x"])
    with pytest.raises(TypeError, match="output 'a' holds dict"):
        tensor_of("a", [{}])
    with pytest.raises(BadRequest, match="is TEXT; known are"):
        inputs_of({"inputs": [{"name": "x", "datatype": "TEXT", "shape": [], "data": "a"}]})


def test_a_model_that_nobody_can_load_names_what_it_found(tmp_path: Path) -> None:
    own = read(ENVIRONMENT, SERVING.replace('"parts:Parts"', "null"))
    with pytest.raises(ValueError, match=r"no artifact ends in \.onnx or \.pt2, .*: weights\.bin"):
        models.load(own, {"weights.bin": tmp_path})
