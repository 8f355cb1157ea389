"""Parts: what a test may need that a machine may lack, and what happens then.

A test that lacks its part is skipped with a reason, and the last lines of the run say so. Where
`CROSSDOCK_REQUIRE=postgres,ray` names the part, its absence is a failure.
"""

import os
from typing import Final

import pytest

PARTS: Final = frozenset(
    {
        "browser",
        "haproxy",
        "kubernetes",
        "namespaces",
        "postgres",
        "radosgw",
        "ray",
        "tensorflow",
        "torch",
        "torchserve",
    }
)
VARIABLE: Final = "CROSSDOCK_REQUIRE"


def required_parts() -> frozenset[str]:
    """Read on every call: a test may set the variable for what it starts."""
    return frozenset(filter(None, (name.strip() for name in os.environ.get(VARIABLE, "").split(","))))


def unknown_parts() -> frozenset[str]:
    """A misspelt part would be required from nobody."""
    return required_parts() - PARTS


def require_part(name: str, present: bool, why: str) -> None:  # noqa: FBT001
    """Returns if the part is there; else skips the test, or fails it where the part is required."""
    if name not in PARTS:
        message = f"{name!r} is no known part; add it to {__name__}.PARTS"
        raise LookupError(message)
    if present:
        return
    if name in required_parts():
        pytest.fail(f"{name} is required by {VARIABLE} and absent: {why}", pytrace=False)
    pytest.skip(f"{name} is absent: {why}")
