"""The public API's documents, version 1: what travels between clients and the control plane. Additive changes only."""
