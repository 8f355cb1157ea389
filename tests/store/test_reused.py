"""The database that tests use one after the other: as new for each, whatever the one before did."""

import psycopg
import pytest

from controlplane.store import Store
from tests.reused import Reused
from tests.store.planting import plant


@pytest.mark.parametrize(
    ("deed", "is_kept"),
    [
        ("SELECT 1", True),
        ("ALTER TABLE jobs DISABLE TRIGGER USER", False),
        ("ALTER TABLE jobs DROP CONSTRAINT fk_jobs_queue_id", False),
        ("DELETE FROM edges WHERE noun = 'lease'", False),
        ("ANALYZE projects", False),
    ],
)
def test_the_next_one_finds_it_empty_and_whole(reused_database: Reused, deed: str, *, is_kept: bool) -> None:
    reused_database.give_back()
    url = reused_database.take()
    store = Store.open(url)
    plant(store, jobs=2)
    with psycopg.connect(url, autocommit=True) as connection:
        first = connection.execute("SELECT min(seq) FROM events").fetchone()
        connection.execute(deed.encode())
    left_open = psycopg.connect(url)
    left_open.execute("SELECT * FROM jobs FOR UPDATE")

    reused_database.give_back()

    assert (reused_database.take() == url) is is_kept
    with psycopg.connect(reused_database.take()) as connection:
        assert connection.execute("SELECT count(*) FROM jobs").fetchone() == (0,)
        assert connection.execute("SELECT count(*) > 50 FROM edges").fetchone() == (True,)
    again = Store.open(reused_database.take())
    plant(again, jobs=2)
    with psycopg.connect(reused_database.take()) as connection:
        assert connection.execute("SELECT min(seq) FROM events").fetchone() == first
    for each in (store, again, left_open):
        each.close()
    reused_database.give_back()
