"""Settings of the simulated control plane: an hour's worth of timeouts in some minutes."""

from pathlib import Path
from typing import Final

from controlplane.settings import Settings
from tests.sim.database import URL

MINUTE_DAYS: Final = 1 / 24 / 60

SETTINGS: Final = Settings(
    home=Path("/nowhere"),
    database_url=URL,
    lease_seconds=30.0,
    clock_skew_seconds=5.0,
    unreachable_after_seconds=20.0,
    start_timeout_seconds=60.0,
    starts_in_flight=3,
    poll_seconds=5.0,
    leader_seconds=10.0,
    boot_timeout_seconds=180.0,
    dead_man_seconds=9600.0,
    min_runtime_seconds=6.0,
    retention_days=MINUTE_DAYS * 12,
    event_days=MINUTE_DAYS * 45,  # more than the longest stride of quiet hours: the judge reads all of them
    log_days=MINUTE_DAYS * 12,
    local_cluster=False,
)
