"""The board: where the ranks put their records, and where they read whether to stop."""

from typing import Any, TypeAlias

Record: TypeAlias = dict[str, Any]
"""One line for CROSSDOCK_RECORDS: values are what JSON can hold."""


class Board:
    """A Ray actor beside the driver, which books nothing.

    Ranks live on other nodes, where neither the driver's signals nor its files reach.
    """

    def __init__(self) -> None:
        self._records: list[Record] = []
        self._begun = False
        self._stopping = False

    def post(self, *records: Record) -> None:
        self._records.extend(records)

    def take(self) -> list[Record]:
        """What was posted since the last time, oldest first."""
        taken, self._records = self._records, []
        return taken

    def stop(self) -> bool:
        """Whether a step has begun, so that there is something to save."""
        self._stopping = True
        return self._begun

    def begin_step(self, *measured: Record) -> bool:
        """Whether the step that begins is the last: asked to stop. Takes what was measured in those before."""
        self._begun = True
        self._records.extend(measured)
        return self._stopping
