"""Breaches: the closed list of rules, and how one that was broken is told."""

from dataclasses import dataclass
from enum import StrEnum

from controlplane.domain.ids import ClusterId


class Rule(StrEnum):
    """All that `doctor` may find; docs/doctor.md explains each of them."""

    STATE_AND_ATTEMPTS = "state_and_attempts"
    """A job is active exactly while its newest attempt lives or awaits its verdict."""

    ATTEMPT_NUMBERS = "attempt_numbers"
    """Attempts are numbered from 1 without a gap, and only the newest may live."""

    OUTCOME_DECIDES = "outcome_decides"
    """A finished job ended as its newest attempt did; nothing follows a success."""

    RETRY_BUDGET = "retry_budget"
    SEATS_ARE_PLACEMENTS = "seats_are_placements"
    """An attempt has one seat per task, and holds all of them while it lives."""

    SEATS_NOT_RELEASED = "seats_not_released"
    """An ended attempt holds no seat."""

    NODE_OVER_LIMIT = "node_over_limit"
    EVENTS_TELL_ALL = "events_tell_all"
    """The events of a noun are one legal walk from its birth to the state of its row."""

    TOKENS_GROW = "tokens_grow"
    ONE_HOLDER = "one_holder"
    TIMES_IN_ORDER = "times_in_order"
    CLUSTER_NOT_READY = "cluster_not_ready"
    """Something was placed on a cluster that was not ready."""

    LAUNCHES_FIT_CLAIM = "launches_fit_claim"
    """At most one launch is open, none before the claim buys or after it is gone, and their numbers have no gap."""

    RANKS_OF_ASK = "ranks_of_ask"
    """Nothing was recorded of a rank that the ask does not have."""

    LOG_IS_WHOLE = "log_is_whole"
    """As many bytes of output are kept as were acknowledged."""

    NOBODY_LOOKS = "nobody_looks"
    """What has something to be done about it is on the work list."""

    UNEXPLAINED_WAIT = "unexplained_wait"
    """Every class of queued asks has a reason from the closed list."""

    COUNTS = "counts"
    """The kept counts of jobs are what a walk over the jobs counts."""

    EDGES = "edges"
    """The table of legal moves is the one of the code."""

    SHARES_ADD_UP = "shares_add_up"
    """A service with a revision that is ready has given all of its traffic away, and to ready ones alone."""

    REPLICA_OF_NOBODY = "replica_of_nobody"
    """A replica whose revision is over, or whose service is deleted, is over or told to stop."""

    REFERENCES = "references"
    """What a row refers to is there."""

    READABLE = "readable"
    """A row holds values that our code knows."""

    PROCESS_OF_NOBODY = "process_of_nobody"
    """What runs on a cluster under an attempt's id belongs to a live attempt."""

    ATTEMPT_WITHOUT_PROCESS = "attempt_without_process"
    """A running attempt is there, or was heard of just now."""

    NODES_AS_LISTED = "nodes_as_listed"
    """The nodes in the books are those that the cluster lists."""

    MACHINE_OF_NOBODY = "machine_of_nobody"
    """A machine with our tag has a live claim."""

    SITE_OF_NOBODY = "site_of_nobody"
    """The Ray cluster of a claim is known only as long as the claim is not gone."""

    LEFT_BEHIND = "left_behind"
    """What a purchase left behind could be removed."""

    OUTSIDE_RESIDENCY = "outside_residency"
    """What runs, runs where its project may be."""

    CLUSTER_WITHOUT_KEEPER = "cluster_without_keeper"
    """Processes of an embedded cluster have a keeper."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """What some loop has to look at, as the work list names it."""

    noun: str
    id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Breach:
    rule: Rule
    subject: str
    """Id of the noun."""

    sentence: str
    """For people: the value that is wrong, and what it should be."""

    due: Due | None = None
    """Whose next look would put it right, if a look can."""

    cluster_id: ClusterId | None = None
    """Where something of ours runs that should not."""
