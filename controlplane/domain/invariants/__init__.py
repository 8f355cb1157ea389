"""Invariants: what must hold of our books at every moment, whatever failed before. Each breach is named.

Pure functions over what one transaction saw, and over what the world outside showed. The simulated world checks them
after every step, `crossdock doctor` on a live database and its clusters.
"""

from controlplane.domain.invariants.books import (
    BookedRank,
    BookedSeat,
    ClaimFile,
    Dossier,
    Floor,
    LostReplica,
    ServiceShares,
    WaitingClass,
    is_kept_whole,
)
from controlplane.domain.invariants.breaches import Breach, Due, Rule
from controlplane.domain.invariants.claims import of_claim
from controlplane.domain.invariants.floor import of_cluster, of_floor, of_leases, of_placings
from controlplane.domain.invariants.jobs import of_job
from controlplane.domain.invariants.outside import (
    Ran,
    of_machines,
    of_nodes,
    of_processes,
    of_silence,
)
from controlplane.domain.invariants.services import of_lost_replica, of_shares
from controlplane.domain.invariants.upkeep import of_edges, of_unwatched, of_waiting, waits_since

__all__ = [
    "BookedRank",
    "BookedSeat",
    "Breach",
    "ClaimFile",
    "Dossier",
    "Due",
    "Floor",
    "LostReplica",
    "Ran",
    "Rule",
    "ServiceShares",
    "WaitingClass",
    "is_kept_whole",
    "of_claim",
    "of_cluster",
    "of_edges",
    "of_floor",
    "of_job",
    "of_leases",
    "of_lost_replica",
    "of_machines",
    "of_nodes",
    "of_placings",
    "of_processes",
    "of_shares",
    "of_silence",
    "of_unwatched",
    "of_waiting",
    "waits_since",
]
