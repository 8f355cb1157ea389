"""What TorchServe runs for a request: a file of its own, which needs numpy and ONNX Runtime alone.

A request is JSON with an array for each input, whose first axis counts examples; the answer is a list of scores for
each.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime


class Entry:
    """As TorchServe 0.12 calls it: `initialize` once, then `handle` with a batch of requests."""

    def initialize(self, context: Any) -> None:  # noqa: ANN401 - TorchServe's own
        folder = Path(context.system_properties["model_dir"])
        self._inputs = json.loads((folder / "inputs.json").read_text())
        self._session = onnxruntime.InferenceSession(
            folder / "model.onnx", providers=["CPUExecutionProvider"]
        )
        self._types = {each.name: each.type for each in self._session.get_inputs()}

    def handle(self, data: list[dict[str, Any]], context: Any) -> list[list[list[float]]]:  # noqa: ANN401 - TorchServe's own
        del context
        return [self._answered(request.get("body") or request.get("data")) for request in data]

    def _answered(self, body: Any) -> list[list[float]]:  # noqa: ANN401 - bytes, or what TorchServe has read
        said = json.loads(body) if isinstance(body, bytes | bytearray | str) else body
        fed = {name: np.asarray(said[name], self._kind(name)) for name in self._inputs}
        scores: list[list[float]] = self._session.run(None, fed)[0].tolist()
        return scores

    def _kind(self, name: str) -> type[np.generic]:
        return np.int64 if self._types[name] == "tensor(int64)" else np.float32
