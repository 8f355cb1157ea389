"""The two doors: what is kept, what is not, and what a caller hears when the database is away."""

import threading
from collections.abc import Callable

import pytest

from controlplane.domain.errors import Bug, Conflict
from controlplane.store import Store, Tx
from tests import factories


def test_what_a_unit_wrote_is_read_afterwards(store: Store) -> None:
    store.write(lambda tx: tx.projects.add(factories.project()))
    with store.read() as tx:
        assert tx.projects.by_name("default") == factories.project()
