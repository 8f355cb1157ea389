"""Random histories of scheduling, every law checked after each plan: millions of events without a control plane."""
