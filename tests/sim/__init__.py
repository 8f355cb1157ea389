"""The simulated world: the real control plane on fake clouds, one seed, one thread (docs/reliability.md)."""
