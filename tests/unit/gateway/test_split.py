"""Splitting one inference over replicas, and joining what they answer."""

import json
from typing import Any

import pytest
from aiohttp import web

from controlplane.domain.errors import Invalid
from controlplane.gateway.split import Unjoinable, join, parts_wanted, split
from tests.unit.gateway.stage import Replica, play, revision, service, staged

PATH = "/vision/digits/v2/models/digits/infer"


def request(rows: int, width: int = 2) -> dict[str, Any]:
    tensor = {"name": "x", "datatype": "FP32", "shape": [rows, width], "data": list(range(rows * width))}
    return {"id": "7", "inputs": [tensor], "outputs": [{"name": "y"}]}


@pytest.mark.parametrize(
    ("rows", "parts", "sizes"), [(5, 2, [2, 3]), (2, 8, [1, 1]), (4, 1, [4]), (9, 3, [3, 3, 3])]
)
def test_a_batch_is_split_evenly_and_in_order(rows: int, parts: int, sizes: list[int]) -> None:
    found = [json.loads(each) for each in split(json.dumps(request(rows)).encode(), parts)]
    assert [each["inputs"][0]["shape"] for each in found] == [[size, 2] for size in sizes]
    assert [value for each in found for value in each["inputs"][0]["data"]] == list(range(rows * 2))
    assert all((each["id"], each["outputs"]) == ("7", [{"name": "y"}]) for each in found)


def test_nested_data_is_split_by_rows() -> None:
    nested = request(3)
    nested["inputs"][0]["data"] = [[1, 2], [3, 4], [5, 6]]
    found = [json.loads(each)["inputs"][0]["data"] for each in split(json.dumps(nested).encode(), 2)]
    assert found == [[[1, 2]], [[3, 4], [5, 6]]]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"inputs": []}, "inputs"),
        ({"inputs": "x"}, "inputs"),
        ({"inputs": [{"name": "x", "shape": [], "data": []}]}, "inputs.0.shape"),
        ({"inputs": [{"name": "x", "shape": [2, "a"], "data": []}]}, "inputs.0.shape"),
        ({"inputs": [{"name": "x", "shape": [2, 2]}]}, "inputs.0.data"),
        ({"inputs": [{"name": "x", "shape": [2, 2], "data": [1, 2, 3]}]}, "inputs.data"),
        ({"inputs": [{"shape": [2], "data": [1, 2]}, {"shape": [3], "data": [1, 2, 3]}]}, "inputs"),
    ],
)
def test_what_cannot_be_split_is_refused_by_the_name_of_its_field(change: dict[str, Any], field: str) -> None:
    with pytest.raises(Invalid) as raised:
        split(json.dumps(request(2) | change).encode(), 2)
    assert raised.value.field == field


@pytest.mark.parametrize("text", ["0", "65", "-1", "two", "", "1.5"])
def test_a_number_of_parts_that_makes_no_sense_is_refused(text: str) -> None:
    with pytest.raises(Invalid):
        parts_wanted(text)


def test_answers_that_do_not_fit_together_are_not_joined() -> None:
    def answer(*shape: int) -> bytes:
        output = {"name": "y", "datatype": "FP32", "shape": list(shape), "data": [0.0]}
        return json.dumps({"outputs": [output]}).encode()

    with pytest.raises(Unjoinable):
        join([answer(1, 1), answer(1, 2)])
    with pytest.raises(Unjoinable):
        join([answer(1), b"{}"])


async def doubles(asked: web.Request) -> web.StreamResponse:
    tensor = json.loads(await asked.content.read())["inputs"][0]
    output = tensor | {"name": "y", "data": [2 * each for each in tensor["data"]]}
    return web.json_response({"model_name": "digits", "outputs": [output]})


@pytest.mark.sockets
def test_a_split_inference_is_answered_as_if_one_replica_had_seen_it() -> None:
    async def scene() -> None:
        one, two = Replica("one", doubles), Replica("two", doubles)
        async with staged(one, two) as stage:
            await stage.offer(service(revision(1, one.backend, two.backend)))
            whole = await stage.ask("POST", PATH, json=request(5))
            parted = await stage.ask("POST", PATH, json=request(5), headers={"x-crossdock-split": "4"})
        assert parted == whole
        assert whole[1]["outputs"][0]["shape"] == [5, 2]
        assert len(one.seen) + len(two.seen) == 1 + 4
        assert min(len(one.seen), len(two.seen)) >= 2

    play(scene())


@pytest.mark.sockets
def test_one_part_that_fails_fails_the_whole() -> None:
    async def picky(asked: web.Request) -> web.StreamResponse:
        tensor = json.loads(await asked.content.read())["inputs"][0]
        if 4 in tensor["data"]:
            return web.json_response({"error": "four"}, status=400)
        return web.json_response({"outputs": [tensor]})

    async def scene() -> None:
        replica = Replica("one", picky)
        async with staged(replica) as stage:
            await stage.offer(service(revision(1, replica.backend)))
            asked = await stage.ask("POST", PATH, json=request(5), headers={"x-crossdock-split": "5"})
            refused = await stage.ask("POST", PATH, json={}, headers={"x-crossdock-split": "5"})
        assert asked == (400, {"error": "four"})
        assert (refused[0], refused[1]["code"]) == (422, "invalid")

    play(scene())
