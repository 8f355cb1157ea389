"""Tensors of the Open Inference Protocol v2: as JSON, and as the nested lists that Python code works with."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

# `Any`: JSON values throughout, and nested lists of numbers and texts, whose type Python cannot say.
Value = Any

PYTHON_TYPES: Final = {bool: "BOOL", int: "INT64", float: "FP64", str: "BYTES"}
NUMPY_NAMES: Final = {
    "BOOL": "bool",
    "UINT8": "uint8",
    "UINT16": "uint16",
    "UINT32": "uint32",
    "UINT64": "uint64",
    "INT8": "int8",
    "INT16": "int16",
    "INT32": "int32",
    "INT64": "int64",
    "FP16": "float16",
    "FP32": "float32",
    "FP64": "float64",
    "BYTES": "object",
}
DATATYPES: Final = {numpy: datatype for datatype, numpy in NUMPY_NAMES.items()}


class BadRequest(Exception):
    """What was sent is not what the protocol asks for."""


def inputs_of(document: Value) -> dict[str, "Tensor"]:
    """From the body of a v2 request. Raises `BadRequest`."""
    if not isinstance(document, Mapping) or not isinstance(document.get("inputs"), list):
        raise BadRequest("the body needs `inputs`, a list of tensors")
    tensors = [_tensor(each) for each in document["inputs"]]
    return {tensor.name: tensor for tensor in tensors}


class Tensor:
    """One named array, flat, with its shape."""

    __slots__ = ("data", "datatype", "name", "shape")

    def __init__(self, name: str, datatype: str, shape: Sequence[int], data: Sequence[Value]) -> None:
        size = 1
        for extent in shape:
            size *= extent
        if size != len(data):
            raise BadRequest(f"input {name!r} has {len(data)} values, its shape {list(shape)} {size}")
        self.name = name
        self.datatype = datatype
        self.shape = tuple(shape)
        self.data = data

    def nested(self) -> Value:
        """As lists in lists; a single value where the shape is empty."""
        if not self.shape:
            return self.data[0]
        level = list(self.data)
        for extent in reversed(self.shape[1:]):
            level = [level[start : start + extent] for start in range(0, len(level), extent)]
        return level

    def document(self) -> dict[str, Value]:
        return {
            "name": self.name,
            "datatype": self.datatype,
            "shape": list(self.shape),
            "data": list(self.data),
        }


def outputs_of(answer: Value) -> list[Tensor]:
    """Of what a model returned: tensors by name, or one value, which is called `output`."""
    named = answer if isinstance(answer, Mapping) else {"output": answer}
    return [tensor_of(name, value) for name, value in named.items()]


def tensor_of(name: str, value: Value) -> Tensor:
    """Of nested lists, a single value, or anything with `dtype`, `shape` and `tolist` as arrays have."""
    if hasattr(value, "dtype") and hasattr(value, "tolist"):
        datatype = DATATYPES.get(str(value.dtype).removeprefix("torch."), "BYTES")
        return Tensor(name, datatype, tuple(value.shape), _flat(value.tolist()))
    flat = _flat(value)
    kinds = {type(each) for each in flat}
    kind = float if kinds == {int, float} else next(iter(kinds), float)
    if len(kinds) > 1 and kind is not float:
        raise TypeError(f"output {name!r} mixes values of several types")
    if kind not in PYTHON_TYPES:
        raise TypeError(f"output {name!r} holds {kind.__name__}, not numbers, truth values or texts")
    data = [float(each) for each in flat] if kind is float else flat
    return Tensor(name, PYTHON_TYPES[kind], _shape(value), data)


def _tensor(given: Value) -> Tensor:
    match given:
        case {"name": str(name), "datatype": str(datatype), "shape": list(shape), "data": data} if all(
            isinstance(extent, int) and extent >= 0 for extent in shape
        ):
            if datatype not in NUMPY_NAMES:
                raise BadRequest(f"input {name!r} is {datatype}; known are {', '.join(sorted(NUMPY_NAMES))}")
            return Tensor(name, datatype, shape, _numbers(datatype, _flat(data)))
        case _:
            raise BadRequest("an input needs `name`, `datatype`, `shape` and `data`")


def _numbers(datatype: str, data: list[Value]) -> list[Value]:
    """JSON writes 1.0 as 1 as well."""
    if datatype.startswith("FP"):
        return [float(each) if isinstance(each, int) else each for each in data]
    return data


def _flat(value: Value) -> list[Value]:
    """Senders may nest the data as the shape says, or not."""
    if not isinstance(value, list | tuple):
        return [value]
    flat: list[Value] = []
    for each in value:
        flat.extend(_flat(each))
    return flat


def _shape(value: Value) -> tuple[int, ...]:
    shape = []
    while isinstance(value, list | tuple):
        shape.append(len(value))
        if not value:
            break
        value = value[0]
    return tuple(shape)
