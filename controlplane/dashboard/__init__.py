"""The web page: static files that talk to the public API like everyone else."""

from pathlib import Path
from typing import Final

STATIC: Final = Path(__file__).parent / "static"
"""`index.html` and what it loads from `/static/`."""
