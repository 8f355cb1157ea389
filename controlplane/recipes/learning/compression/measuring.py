"""Measuring: size, latency and accuracy of a model as a device runs it, in ONNX Runtime on one core."""

import statistics
import time
import zlib
from dataclasses import dataclass
from typing import Any, Final

import onnxruntime
import torch

from ..data.examples import Examples
from ..models.tasks import Task

WARM_UP: Final = 20
TIMED: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    size_bytes: int
    packed_bytes: int
    """Deflated, as a package travels: zeros and repeated numbers cost nothing there."""

    latency_microseconds: float
    """The median of 200 runs on one example."""

    accuracy: float


class BelowFloor(Exception):
    """The compressed model is worse than allowed."""


def measure(onnx: bytes, task: Task, examples: Examples) -> Measured:
    session = one_core_session(onnx)
    return Measured(
        size_bytes=len(onnx),
        packed_bytes=len(zlib.compress(onnx, 9)),
        latency_microseconds=_latency(session, task, examples),
        accuracy=_accuracy(session, task, examples),
    )


def one_core_session(onnx: bytes) -> Any:  # noqa: ANN401 - untyped by its package
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(onnx, options, providers=["CPUExecutionProvider"])


def require_floor(accuracy: float, floor: float) -> None:
    """Raises `BelowFloor`, with both numbers."""
    if not accuracy >= floor:  # NaN reaches no floor
        raise BelowFloor(f"accuracy {accuracy:.4f} is below the floor of {floor:.4f}: nothing is published")


def _latency(session: Any, task: Task, examples: Examples) -> float:  # noqa: ANN401 - see one_core_session
    one = {name: examples[name][:1] for name in task.inputs}
    spent = []
    for _ in range(WARM_UP + TIMED):
        began = time.perf_counter_ns()
        session.run(None, one)
        spent.append((time.perf_counter_ns() - began) / 1000)
    return round(statistics.median(spent[WARM_UP:]), 1)


def _accuracy(session: Any, task: Task, examples: Examples) -> float:  # noqa: ANN401 - see one_core_session
    (scores,) = session.run(None, {name: examples[name] for name in task.inputs})
    right = task.right(torch.from_numpy(scores), torch.from_numpy(examples[task.target]))
    return float(right) / len(examples)
