"""Policies: pure functions that decide what runs where and when."""
