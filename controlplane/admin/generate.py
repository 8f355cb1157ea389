"""Generated files: written from the code, committed, and checked: `python -m controlplane.admin.generate [--check]`."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from controlplane.admin import adapters
from controlplane.api.app import openapi_document
from controlplane.domain.lifecycles import BIRTH
from controlplane.operations.doctor.books import LIFECYCLES

DOCS: Final = Path("docs")
STATES: Final = {each.noun: each.pairs() for each in LIFECYCLES}


def documents() -> Mapping[Path, str]:
    """Path, relative to the project's root -> text."""
    states = {DOCS / "states" / f"{noun}.mmd": state_diagram(pairs) for noun, pairs in STATES.items()}
    openapi = json.dumps(openapi_document(), indent=1, sort_keys=True) + "\n"
    matrix = adapters.markdown(Path("pyproject.toml"))
    return {**states, DOCS / "openapi.json": openapi, DOCS / "adapters-matrix.md": matrix}


def state_diagram(pairs: tuple[tuple[str, str], ...]) -> str:
    """A Mermaid state diagram; states without successors lead to the end."""
    leaving = {old for old, _ in pairs}
    lines = [f"    {'[*]' if old == BIRTH else old} --> {new}" for old, new in pairs]
    ends = [f"    {new} --> [*]" for new in sorted({new for _, new in pairs} - leaving)]
    return "\n".join(["stateDiagram-v2", *lines, *ends]) + "\n"


def main() -> None:
    stale = [path for path, text in documents().items() if not path.exists() or path.read_text() != text]
    if "--check" in sys.argv:
        for path in stale:
            print(f"{path} is out of date: run python -m controlplane.admin.generate", file=sys.stderr)
        sys.exit(1 if stale else 0)
    for path in stale:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(documents()[path])
        print(f"wrote {path}")


if __name__ == "__main__":
    main()
