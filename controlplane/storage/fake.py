"""An object store in memory, with the vices of a real one: it loses answers after the deed, and goes away."""

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import BinaryIO, TypeVar

from controlplane.domain.errors import NotFound, Transient
from controlplane.storage.base import check_key

T = TypeVar("T")


@dataclass(slots=True)
class FakeStore:
    """All vices are off at first."""

    is_away: bool = False
    lost_answers: int = 0
    """So many puts and deletes do their deed and raise `Transient` instead of answering."""

    objects: dict[str, bytes] = field(default_factory=dict)

    def put(self, key: str, data: BinaryIO) -> int:
        check_key(key)
        whole = data.read()

        def deed() -> int:
            self.objects[key] = whole
            return len(whole)

        return self._answer(deed)

    def get(self, key: str) -> BinaryIO:
        self._check_there()
        if key not in self.objects:
            raise NotFound(f"there is no object {key}")
        return io.BytesIO(self.objects[key])

    def exists(self, key: str) -> bool:
        self._check_there()
        return key in self.objects

    def list(self, prefix: str) -> Iterator[str]:
        self._check_there()
        yield from sorted(key for key in self.objects if key.startswith(prefix))

    def delete(self, key: str) -> None:
        def deed() -> None:
            self.objects.pop(key, None)

        self._answer(deed)

    def _answer(self, deed: Callable[[], T]) -> T:
        self._check_there()
        answer = deed()
        if self.lost_answers:
            self.lost_answers -= 1
            raise Transient("the object store did not answer in time")
        return answer

    def _check_there(self) -> None:
        if self.is_away:
            raise Transient("the object store does not answer")
