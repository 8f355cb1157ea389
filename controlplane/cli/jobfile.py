"""Job files: a spec as YAML or JSON."""

import sys
from pathlib import Path
from typing import Any

import typer
import yaml

STANDARD_INPUT = Path("-")


def read(path: Path) -> tuple[dict[str, Any], Path | None]:
    """The spec, and the local folder that its `working_dir` names, if it names one.

    A folder is relative to the job file; a digest of an archive stays in the spec.
    """
    try:
        text = sys.stdin.read() if path == STANDARD_INPUT else path.read_text(encoding="utf-8")
        spec = yaml.safe_load(text)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise typer.BadParameter(f"{path} cannot be read: {error}", param_hint="JOB_FILE") from error
    if not isinstance(spec, dict):
        raise typer.BadParameter(f"{path} must hold a mapping of job fields", param_hint="JOB_FILE")
    folder = spec.get("working_dir")
    if not isinstance(folder, str) or folder.startswith("sha256:"):
        return spec, None
    del spec["working_dir"]
    return spec, path.parent / folder
