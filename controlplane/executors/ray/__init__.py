"""Runs attempts as Ray jobs, over plain HTTP; the control plane itself never imports Ray."""
