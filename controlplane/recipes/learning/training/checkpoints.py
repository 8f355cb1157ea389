"""Checkpoints: where training stood after a step, in one file, whole or not there."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import torch

from .. import storage, tensors
from ..board import Record

STATE: Final = "state.pt"
FOLDER: Final = re.compile(r"/step-(\d{6,})/" + re.escape(STATE) + "$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    step: int
    epoch_loss: float
    """Summed over the examples that this epoch has seen so far, on all ranks."""

    patience: Mapping[str, Any]
    strategy: Mapping[str, Any]


class OtherTraining(ValueError):
    """A checkpoint of a training that this one cannot carry on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Keeper:
    """Of one attempt's checkpoints."""

    folder: str
    """URI."""

    must_match: Mapping[str, Any]
    """What has to be equal in a training that is carried on; plain values."""

    def write(self, checkpoint: Checkpoint) -> Record:
        """Returns the record that tells of it, when it is safe."""
        uri = self._uri(checkpoint.step)
        content = {
            "must_match": dict(self.must_match),
            "step": checkpoint.step,
            "epoch_loss": checkpoint.epoch_loss,
            "patience": dict(checkpoint.patience),
            "strategy": dict(checkpoint.strategy),
        }
        storage.write(uri, tensors.saved(content))
        return {"kind": "checkpoint", "uri": uri, "step": checkpoint.step, "sha256": storage.seal(uri)}

    def newest(self) -> str | None:
        """URI of the one with the highest step; only there when Ray started this attempt's ranks again."""
        paths = storage.listed(self.folder)
        steps = [int(found.group(1)) for path in paths if (found := FOLDER.search(path))]
        return self._uri(max(steps)) if steps else None

    def _uri(self, step: int) -> str:
        return storage.below(self.folder, f"step-{step:06d}/{STATE}")

    def read(self, uri: str, device: torch.device) -> Checkpoint:
        """Raises `OtherTraining` when settings or data differ, and names them."""
        said = tensors.load(uri, device)
        theirs, ours = said.pop("must_match"), self.must_match
        changed = [
            f"{name} was {theirs.get(name)}, is {ours[name]}"
            for name in ours
            if ours[name] != theirs.get(name)
        ]
        if changed:
            raise OtherTraining(f"the checkpoint was made with other settings: {', '.join(changed)}")
        return Checkpoint(**said)
