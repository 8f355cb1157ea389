"""Code that runs on Ray: what the platform's own jobs are made of.

Nothing here imports the control plane. This folder ships to a cluster as a working directory, so each
recipe is a package of its own, started as `python -m <recipe>`, whose modules import each other
relatively; the same imports work here, where the recipe is `controlplane.recipes.<recipe>`.
"""
