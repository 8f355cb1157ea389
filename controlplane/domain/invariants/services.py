"""What must hold of services, of their revisions' shares, and of their replicas."""

from collections.abc import Iterator

from controlplane.domain.invariants.books import LostReplica, ServiceShares
from controlplane.domain.invariants.breaches import Breach, Due, Rule
from controlplane.domain.services import ALL_PPM


def of_shares(shares: ServiceShares) -> Iterator[Breach]:
    wanted = ALL_PPM if shares.ready else 0
    due = Due(noun="service", id=shares.service_id)
    if shares.given_ppm != wanted:
        sentence = f"{shares.given_ppm} of {wanted} millionths go to its {shares.ready} ready revisions"
        yield Breach(rule=Rule.SHARES_ADD_UP, subject=shares.service_id, sentence=sentence, due=due)
    if shares.misled_ppm:
        sentence = f"{shares.misled_ppm} millionths of its traffic go to revisions that are not ready"
        yield Breach(rule=Rule.SHARES_ADD_UP, subject=shares.service_id, sentence=sentence, due=due)


def of_lost_replica(lost: LostReplica) -> Iterator[Breach]:
    whose = "is deleted" if lost.is_deleted else f"has a revision here that is {lost.revision_state}"
    sentence = f"is a replica that nobody told to stop, and service {lost.service_id} {whose}"
    yield Breach(rule=Rule.REPLICA_OF_NOBODY, subject=lost.job_id, sentence=sentence)
