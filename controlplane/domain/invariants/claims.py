"""What must hold of claims and of the launches that were made for them."""

from collections.abc import Iterator, Sequence

from controlplane.domain.claims import CLAIM, Claim, ClaimState, Launch, launch_id
from controlplane.domain.invariants.books import ClaimFile, is_kept_whole
from controlplane.domain.invariants.breaches import Breach, Rule
from controlplane.domain.invariants.walks import walk


def of_claim(file: ClaimFile) -> Iterator[Breach]:
    claim = file.claim
    for sentence in (*_open(claim, file.launches), *_numbered(claim, file.launches)):
        yield Breach(rule=Rule.LAUNCHES_FIT_CLAIM, subject=claim.id, sentence=sentence)
    born_at = claim.created_at if is_kept_whole(claim.created_at, file.kept_since) else None
    yield from walk(CLAIM, claim, file.events, born_at=born_at)


def _open(claim: Claim, launches: Sequence[Launch]) -> Iterator[str]:
    still_open = [launch.id for launch in launches if launch.is_open]
    if len(still_open) > 1:
        yield f"{len(still_open)} launches are open at once: {still_open}"
    if claim.state is ClaimState.GONE and still_open:
        yield f"is gone, but launch {still_open[0]} is open"
    if claim.state is ClaimState.REQUESTED and launches:
        yield f"is requested, but launch {launches[0].id} was made"


def _numbered(claim: Claim, launches: Sequence[Launch]) -> Iterator[str]:
    """Within a generation each launch is one zone further; each generation begins with the first zone."""
    generation, ordinal = 0, 0
    for launch in launches:
        if (launch.generation, launch.ordinal) not in (
            (generation + 1, 1),
            (max(generation, 1), ordinal + 1),
        ):
            yield f"launch {launch.generation}/{launch.ordinal} follows {generation}/{ordinal}"
        if launch.id != launch_id(claim.id, launch.generation, launch.ordinal):
            yield f"launch {launch.generation}/{launch.ordinal} is called {launch.id}"
        generation, ordinal = launch.generation, launch.ordinal
    if generation != claim.generation:
        yield f"has bought {claim.generation} times, but its last launch is of generation {generation}"
