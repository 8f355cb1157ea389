"""The whole server on PostgreSQL: what the other end-to-end cases show on SQLite."""

from pathlib import Path

from controlplane.domain.clusters import Endpoint
from tests.e2e.test_crashes import counting, finished_in_one_attempt, has_counted_to
from tests.e2e.test_first_light import attach
from tests.server import eventually, running_server

SECONDS = 90.0


def test_a_killed_server_on_postgresql_finds_its_attempt_again(
    ray_cluster: Endpoint, postgresql_url: str, tmp_path: Path
) -> None:
    with (
        running_server(tmp_path / "home", database_url=postgresql_url, lease_seconds=20.0) as server,
        server.client() as client,
    ):
        attach(server, ray_cluster)
        job = counting(client, 60)
        eventually(lambda: has_counted_to(job, 5), SECONDS, "the job must have begun")
        server.kill("api", "loops")
        server.start("api", "loops")
        finished_in_one_attempt(job, 60)
