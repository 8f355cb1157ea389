"""Starts batch inference: `python -m learning.inference`."""

import signal
import sys

from .. import flags
from .driver import drive
from .settings import Settings


def main() -> int:
    settings = flags.parse(
        Settings, None, prog="python -m learning.inference", description="Answer prepared examples."
    )
    return 0 if drive(settings) else 128 + signal.SIGTERM


if __name__ == "__main__":
    sys.exit(main())
