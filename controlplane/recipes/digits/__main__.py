"""Starts the recipe: `python -m digits`."""

import runpy

# By name: here both packages stand at the top, in the repository they do not.
runpy.run_module("learning.training", run_name="__main__", alter_sys=True)
