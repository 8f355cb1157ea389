"""Every planted bug, in the order of the table."""

from typing import Final

from tests.sim.plants import PLANTS, Plant
from tests.sim.plants_clouds import CLOUD_PLANTS
from tests.sim.plants_pipelines import PIPELINE_PLANTS
from tests.sim.plants_scheduling import SCHEDULING_PLANTS
from tests.sim.plants_services import SERVICE_PLANTS

ALL_PLANTS: Final[tuple[Plant, ...]] = (
    *PLANTS,
    *CLOUD_PLANTS,
    *SCHEDULING_PLANTS,
    *PIPELINE_PLANTS,
    *SERVICE_PLANTS,
)
