"""Starts the recipe: `python -m digits`."""

import sys

from .driver import main

sys.exit(main())
