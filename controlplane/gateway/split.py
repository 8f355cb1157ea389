"""Splits one large inference over several replicas and joins what they answer, in order. Pure.

The requests are those of the Open Inference Protocol (version 2, REST): every input is a tensor whose first dimension
is the batch, with its data flat in row-major order or as nested lists.
"""

import json
from collections.abc import Mapping, Sequence
from math import prod
from typing import Any, Final

from controlplane.domain.errors import Invalid

MOST_PARTS: Final = 64
Tensor = Mapping[str, Any]  # JSON, as the protocol has it
Document = Mapping[str, Any]


class Unjoinable(Exception):
    """What replicas answered does not fit together; the message says why."""


def parts_wanted(text: str) -> int:
    """Raises `Invalid`."""
    parts = int(text) if text.isascii() and text.isdecimal() else 0
    if not 1 <= parts <= MOST_PARTS:
        raise Invalid(
            f"must be a whole number from 1 to {MOST_PARTS}",
            field="x-crossdock-split",
            value=text,
            limit=MOST_PARTS,
        )
    return parts


def split(content: bytes, parts: int) -> tuple[bytes, ...]:
    """At most so many requests, each with some rows of the batch. Raises `Invalid`."""
    try:
        document = json.loads(content)
    except ValueError as error:
        raise Invalid(f"is no JSON: {error}", field="body") from error
    inputs = document.get("inputs") if isinstance(document, dict) else None
    if not isinstance(inputs, list) or not inputs:
        raise Invalid("must be a list of tensors", field="inputs")
    rows = {_rows(each, f"inputs.{number}") for number, each in enumerate(inputs)}
    if len(rows) > 1:
        raise Invalid("have batches of different sizes", field="inputs", value=str(sorted(rows)))
    edges = _edges(rows.pop(), parts)
    return tuple(
        json.dumps(document | {"inputs": [_slice(each, start, end) for each in inputs]}).encode()
        for start, end in edges
    )


def join(contents: Sequence[bytes]) -> bytes:
    """One answer of all, as if one replica had seen the whole batch. Raises `Unjoinable`."""
    try:
        documents = [json.loads(each) for each in contents]
        outputs = [_by_name(each) for each in documents]
        if any(each.keys() != outputs[0].keys() for each in outputs):
            raise Unjoinable("replicas answered with different outputs")
        joined = [_joined([each[name] for each in outputs]) for name in outputs[0]]
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise Unjoinable(f"a replica's answer is no inference response: {error}") from error
    return json.dumps(documents[0] | {"outputs": joined}).encode()


def _rows(tensor: object, field: str) -> int:
    match tensor:
        case {"shape": [int(rows), *rest], "data": list()} if rows > 0 and all(map(_is_size, rest)):
            return rows
        case {"shape": [int(rows), *rest]} if rows > 0 and all(map(_is_size, rest)):
            raise Invalid("needs its data in the request itself", field=f"{field}.data")
        case _:
            raise Invalid("needs a shape with a first dimension above 0", field=f"{field}.shape")


def _is_size(size: object) -> bool:
    return isinstance(size, int) and size >= 0


def _edges(rows: int, parts: int) -> list[tuple[int, int]]:
    """Even: no part has more than one row more than another."""
    parts = min(parts, rows)
    return [(rows * each // parts, rows * (each + 1) // parts) for each in range(parts)]


def _slice(tensor: Tensor, start: int, end: int) -> Tensor:
    rows, *rest = tensor["shape"]
    data, width = tensor["data"], prod(rest)
    if len(data) == rows * width:
        part = data[start * width : end * width]
    elif len(data) == rows:
        part = data[start:end]
    else:
        raise Invalid(
            f"has {len(data)} values, its shape says {rows * width}", field="inputs.data", value=len(data)
        )
    return {**tensor, "shape": [end - start, *rest], "data": part}


def _by_name(document: Document) -> dict[str, Tensor]:
    return {each["name"]: each for each in document["outputs"]}


def _joined(tensors: Sequence[Tensor]) -> Tensor:
    first = tensors[0]
    for each in tensors:
        if (each["datatype"], each["shape"][1:]) != (first["datatype"], first["shape"][1:]):
            raise Unjoinable(f"output {first['name']} has shape {each['shape']} and {first['shape']}")
    return {
        **first,
        "shape": [sum(each["shape"][0] for each in tensors), *first["shape"][1:]],
        "data": [value for each in tensors for value in each["data"]],
    }
