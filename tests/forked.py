"""Runs our programs as `python -m` does, in processes forked from one that has imported their libraries already.

The start of a server costs a second of a processor then, not seven. A test that is about imports starts an interpreter.
"""

import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Final

IMPORTED: Final = (
    "controlplane.api.app",
    "controlplane.bootstrap",
    "controlplane.cli.jobs",
    "controlplane.gateway.process",
    "controlplane.runtime.interpreter",
    "controlplane.runtime.process",
    "uvicorn",
)
"""Not the programs themselves: each runs its own code."""

NOTHING: Final = Path(os.devnull)


def forked(
    module: str, words: Sequence[str], *, environment: Mapping[str, str], log: Path, is_fresh: bool = False
) -> BaseProcess:
    """The running process; it ends at the latest with the test run. Its output is added to `log`.

    A fresh one imports everything itself.
    """
    return _started(module, words, environment, (NOTHING, log, log), is_fresh=is_fresh)


def ran(
    module: str,
    words: Sequence[str],
    *,
    environment: Mapping[str, str],
    within_seconds: float,
    stdin: str = "",
) -> subprocess.CompletedProcess[str]:
    """What it said until its end; `TimeoutExpired` when that did not come."""
    with tempfile.TemporaryDirectory() as folder:
        given, out, errors = (Path(folder, name) for name in ("in", "out", "errors"))
        given.write_text(stdin)
        process = _started(module, words, environment, (given, out, errors))
        process.join(within_seconds)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise subprocess.TimeoutExpired([module, *words], within_seconds)
        return subprocess.CompletedProcess(
            [module, *words], process.exitcode, out.read_text(), errors.read_text()
        )


def _started(
    module: str,
    words: Sequence[str],
    environment: Mapping[str, str],
    streams: tuple[Path, Path, Path],
    *,
    is_fresh: bool = False,
) -> BaseProcess:
    arguments = (module, tuple(words), dict(environment), streams)
    process: BaseProcess
    if is_fresh:
        process = multiprocessing.get_context("spawn").Process(target=_become, args=arguments)
    else:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(list(IMPORTED))
        process = context.Process(target=_become, args=arguments)
    process.start()
    return process


def _become(
    module: str, words: Sequence[str], environment: Mapping[str, str], streams: tuple[Path, Path, Path]
) -> None:
    for number, (path, mode) in enumerate(zip(streams, ("rb", "ab", "ab"), strict=True)):
        with path.open(mode) as file:
            os.dup2(file.fileno(), number)
    sys.stdin = os.fdopen(0)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv[1:] = words
    runpy.run_module(module, run_name="__main__", alter_sys=True)
