"""Capacity plugins: how clusters lend or sell the machines that attempts run on."""
