"""Secrets at rest: envelope encryption under one master key."""
