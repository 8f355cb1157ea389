"""Models: what a replica answers with: a class of the user's, an ONNX file or an exported torch program."""

import importlib
import inspect
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from .surroundings import Surroundings
from .tensors import NUMPY_NAMES, BadRequest, Tensor, outputs_of, tensor_of

# `Any` throughout: users' code takes and gives what it likes.


class Model(Protocol):
    """Called by several threads at once."""

    platform: str

    def infer(self, inputs: Mapping[str, Tensor]) -> list[Tensor] | Iterator[Any]:
        """An iterator is a stream."""

    def call(self, payload: Any) -> Any:  # noqa: ANN401
        """With any JSON value. Raises `BadRequest` where the model takes tensors alone."""

    @property
    def generates(self) -> bool:
        """Whether it writes text."""

    def generate(self, prompt: str, *, max_tokens: int, temperature: float) -> Iterator[str]:
        """Piece by piece."""

    def warm_up(self) -> None:
        """The first call is slow, and no caller's."""


def load(surroundings: Surroundings, artifacts: Mapping[str, Path], peers: Sequence[Any] = ()) -> Model:
    """Raises whatever keeps the model from being loaded."""
    if surroundings.import_path is not None:
        return UserModel(surroundings, artifacts, peers)
    for suffix, kind in ((".onnx", OnnxModel), (".pt2", TorchModel)):
        found = [path for name, path in sorted(artifacts.items()) if name.endswith(suffix)]
        if found:
            return kind(found[0])
    names = ", ".join(sorted(artifacts)) or "none"
    raise ValueError(f"no artifact ends in .onnx or .pt2, and no import_path says how to load: {names}")


class UserModel:
    """A class that is constructed once and then called, as Ray Serve's deployments are."""

    platform = "python"

    def __init__(
        self, surroundings: Surroundings, artifacts: Mapping[str, Path], peers: Sequence[Any]
    ) -> None:
        module, _, name = (surroundings.import_path or "").partition(":")
        sys.path.insert(0, os.getcwd())  # noqa: PTH109 - the working directory, as the platform set it
        kind = getattr(importlib.import_module(module), name)
        offered = {
            "artifacts": {name: str(path) for name, path in artifacts.items()},
            "rank": surroundings.gang.rank,
            "ranks": surroundings.gang.ranks,
            "peers": tuple(peers),
        }
        self._own: Any = kind(**dict(surroundings.config), **_taken(kind, offered))

    def infer(self, inputs: Mapping[str, Tensor]) -> list[Tensor] | Iterator[Any]:
        answer = self._own({name: tensor.nested() for name, tensor in inputs.items()})
        return answer if inspect.isgenerator(answer) else outputs_of(answer)

    def call(self, payload: Any) -> Any:  # noqa: ANN401
        return self._own(payload)

    @property
    def generates(self) -> bool:
        return callable(getattr(self._own, "generate", None))

    def generate(self, prompt: str, *, max_tokens: int, temperature: float) -> Iterator[str]:
        yield from self._own.generate(prompt, max_tokens=max_tokens, temperature=temperature)

    def warm_up(self) -> None:
        if callable(own := getattr(self._own, "warm_up", None)):
            own()


class _TensorModel:
    """Takes tensors alone, and writes no text."""

    generates = False

    def call(self, payload: Any) -> Any:  # noqa: ANN401, ARG002
        raise BadRequest("this model takes tensors: POST to /v2/models/{name}/infer")

    def generate(self, prompt: str, *, max_tokens: int, temperature: float) -> Iterator[str]:  # noqa: ARG002
        raise BadRequest("this model writes no text")


class OnnxModel(_TensorModel):
    platform = "onnxruntime_onnx"

    def __init__(self, path: Path) -> None:
        import onnxruntime

        self._session = onnxruntime.InferenceSession(str(path))

    def infer(self, inputs: Mapping[str, Tensor]) -> list[Tensor]:
        wanted = [each.name for each in self._session.get_inputs()]
        if sorted(wanted) != sorted(inputs):
            raise BadRequest(f"the model takes {', '.join(wanted)}, not {', '.join(inputs) or 'nothing'}")
        arrays = {name: _array(tensor) for name, tensor in inputs.items()}
        names = [each.name for each in self._session.get_outputs()]
        try:
            answers = self._session.run(names, arrays)
        except Exception as problem:  # its own kinds of errors are in no public module
            if type(problem).__name__ == "InvalidArgument":
                raise BadRequest(str(problem)) from problem
            raise
        return [tensor_of(name, answer) for name, answer in zip(names, answers, strict=True)]

    def warm_up(self) -> None:
        import numpy as np

        kinds = {"tensor(float)": "float32", "tensor(double)": "float64", "tensor(int64)": "int64"}
        inputs = self._session.get_inputs()
        if all(each.type in kinds for each in inputs):
            shapes = {each.name: [n if isinstance(n, int) else 1 for n in each.shape] for each in inputs}
            zeros = {each.name: np.zeros(shapes[each.name], kinds[each.type]) for each in inputs}
            self._session.run(None, zeros)


class TorchModel(_TensorModel):
    platform = "pytorch_export"

    def __init__(self, path: Path) -> None:
        import torch

        self._torch = torch
        self._program = torch.export.load(str(path)).module()

    def infer(self, inputs: Mapping[str, Tensor]) -> list[Tensor]:
        given = [self._torch.from_numpy(_array(tensor)) for tensor in inputs.values()]
        with self._torch.inference_mode():
            answer = self._program(*given)
        if isinstance(answer, Mapping):
            return [tensor_of(name, value) for name, value in answer.items()]
        answers = answer if isinstance(answer, list | tuple) else [answer]
        return [tensor_of(f"output_{place}", value) for place, value in enumerate(answers)]

    def warm_up(self) -> None:
        """What it takes is only known when it is asked."""


def _taken(kind: Any, offered: Mapping[str, Any]) -> dict[str, Any]:  # noqa: ANN401
    """Of what the platform offers, that which the constructor names."""
    names = inspect.signature(kind).parameters
    return {name: value for name, value in offered.items() if name in names}


def _array(tensor: Tensor) -> Any:  # noqa: ANN401 - an array
    import numpy as np

    try:
        return np.array(tensor.data, dtype=NUMPY_NAMES[tensor.datatype]).reshape(tensor.shape)
    except (ValueError, TypeError, OverflowError) as problem:
        raise BadRequest(
            f"input {tensor.name!r} does not hold {tensor.datatype} values: {problem}"
        ) from problem
