"""Checkpoints: where training stood after a step, in one file of plain arrays, whole or not there."""

import io
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import storage

State = Mapping[str, NDArray[np.float32]]


class OtherTraining(ValueError):
    """A checkpoint of a training that this one cannot carry on."""


def write(folder: str, step: int, state: State, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the record that tells of it, when it is safe. `folder` is a URI."""
    uri = storage.below(folder, f"step-{step:06d}/state.npz")
    content = io.BytesIO()
    said = json.dumps({"step": step, "settings": dict(settings)}, sort_keys=True)
    np.savez(content, allow_pickle=False, about=np.array(said), **state)
    storage.write(uri, content.getvalue())
    return {"kind": "checkpoint", "uri": uri, "step": step, "sha256": storage.seal(uri)}


def read(uri: str, settings: Mapping[str, Any]) -> tuple[int, State]:
    """The step and the state after it. Raises `OtherTraining` when settings differ, and names them."""
    with np.load(io.BytesIO(storage.read(uri)), allow_pickle=False) as file:
        about = json.loads(str(file["about"]))
        state = {name: file[name] for name in file.files if name != "about"}
    theirs = about["settings"]
    changed = [
        f"{name} was {theirs.get(name)}, is {settings[name]}"
        for name in settings
        if theirs.get(name) != settings[name]
    ]
    if changed:
        raise OtherTraining(f"the checkpoint was made with other settings: {', '.join(changed)}")
    return about["step"], state
