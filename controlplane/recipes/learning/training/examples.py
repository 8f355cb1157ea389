"""Examples to train with: prepared ones by URI, or the task's own."""

from ..data import shards
from ..data.examples import Examples, joined
from ..models.tasks import TASKS
from .settings import Settings


def load(settings: Settings) -> tuple[Examples, Examples]:
    """What to learn from, and what to judge by. Raises ValueError for data that was prepared for another task."""
    if not settings.data:
        return TASKS[settings.task].load(settings.seed)
    source = shards.manifest(settings.data).source
    if source != settings.task:
        raise ValueError(f"{settings.data} holds examples of {source}, the task is {settings.task}")
    return joined(shards.read(settings.data, "train")), joined(shards.read(settings.data, "validation"))
