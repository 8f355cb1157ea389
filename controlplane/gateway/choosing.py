"""Chooses the revision and the replica that answer a request. Pure: chance comes in as a number."""

from collections.abc import Mapping, Sequence
from typing import Final

from controlplane.domain.ids import AttemptId
from controlplane.domain.traffic import Backend, RevisionRoute

ALL_PPM: Final = 1_000_000


def revision_for(revisions: Sequence[RevisionRoute], draw_ppm: int) -> RevisionRoute | None:
    """By weight among those given; `draw_ppm` is below a million. None where no weight is left.

    The weights are scaled to those given: who leaves one out hands its share to the others.
    """
    left = draw_ppm * sum(each.weight_ppm for each in revisions) // ALL_PPM
    for revision in revisions:
        if left < revision.weight_ppm:
            return revision
        left -= revision.weight_ppm
    return None


def least_outstanding(
    backends: Sequence[Backend], outstanding: Mapping[AttemptId, int], *, concurrency: int, turn: int
) -> Backend | None:
    """The one with the fewest requests under way, over all clusters; None when each has as many as it takes.

    Among equals the `turn` goes round: an idle service would else wear out its first replica.
    """
    start = turn % len(backends) if backends else 0
    in_turn = (*backends[start:], *backends[:start])
    free = [each for each in in_turn if outstanding.get(each.attempt_id, 0) < concurrency]
    return min(free, key=lambda each: outstanding.get(each.attempt_id, 0), default=None)
