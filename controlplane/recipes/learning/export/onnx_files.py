"""ONNX files: a network as a graph that other runtimes run, compared with the original before it leaves."""

import warnings
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import numpy as np
import onnxruntime
import torch
from torch import nn

from ..data.examples import Examples
from ..models.tasks import Task

TOLERANCE: Final = 1e-4
"""The largest absolute difference of any score: float32 sums in another order."""

OPSET: Final = 18
OUTPUT: Final = "scores"
COMPARED: Final = 64


class Differs(Exception):
    """The exported graph does not answer as the network does."""


def exported(network: nn.Module, task: Task, examples: Examples) -> bytes:
    """Raises `Differs` when a score of the first examples is off by more than `TOLERANCE`."""
    some = examples.first(COMPARED)
    inputs, _ = task.tensors(some, torch.device("cpu"))
    network.eval()
    with TemporaryDirectory() as folder, warnings.catch_warnings():
        file = Path(folder, "model.onnx")
        # The newer exporter needs another package, and makes the same graph of networks like these.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network,
            inputs,
            file,
            dynamo=False,
            opset_version=OPSET,
            input_names=list(task.inputs),
            output_names=[OUTPUT],
            dynamic_axes={name: {0: "examples"} for name in (*task.inputs, OUTPUT)},
        )
        graph = file.read_bytes()
    off = difference(network, graph, task, some)
    if not off <= TOLERANCE:  # so that NaN is no answer either
        raise Differs(f"the ONNX graph differs by {off:g} from the network, {TOLERANCE:g} is allowed")
    return graph


def difference(network: nn.Module, onnx: bytes, task: Task, examples: Examples) -> float:
    """The largest absolute difference between the scores of both."""
    inputs, _ = task.tensors(examples, torch.device("cpu"))
    with torch.no_grad():
        ours = network(*inputs).numpy()
    session = onnxruntime.InferenceSession(onnx, providers=["CPUExecutionProvider"])
    (theirs,) = session.run(None, {name: examples[name] for name in task.inputs})
    return float(np.abs(ours - theirs).max())
