"""Remedies: what can be done about each breach, by `crossdock doctor --repair` or by an operator."""

from collections.abc import Mapping
from typing import Final

from controlplane.domain.invariants import Breach, Rule

CONTRADICTION: Final = (
    "its rows contradict each other: read `crossdock events --job`, then decide which of them is true"
)
TAMPERED: Final = (
    "somebody wrote past the server: restore the database from a backup, or put the rows right by hand"
)

BY_REPAIR: Final[Mapping[Rule, str]] = {
    Rule.SEATS_NOT_RELEASED: "--repair releases them",
    Rule.ONE_HOLDER: "--repair ends all but the newest, which fences off their holders",
    Rule.COUNTS: "--repair counts anew",
    Rule.NOBODY_LOOKS: "--repair puts it on the list",
    Rule.PROCESS_OF_NOBODY: "--repair tells the executor to stop it",
    Rule.ATTEMPT_WITHOUT_PROCESS: "--repair has the attempt loop look at it; it ends when its lease is over",
    Rule.NODES_AS_LISTED: "--repair has the cluster loop take an inventory",
    Rule.MACHINE_OF_NOBODY: "--repair has the orphan loop list the cloud; it ends what nobody claims after a grace",
    Rule.SITE_OF_NOBODY: "--repair forgets it",
    Rule.SHARES_ADD_UP: "--repair has the service loop divide the traffic anew",
    Rule.CLUSTER_WITHOUT_KEEPER: "--repair ends what is left of it; a running server then starts it anew",
}
BY_HAND: Final[Mapping[Rule, str]] = {
    Rule.STATE_AND_ATTEMPTS: CONTRADICTION,
    Rule.ATTEMPT_NUMBERS: "two attempts may be running the same job: look at their clusters, and cancel the job",
    Rule.OUTCOME_DECIDES: CONTRADICTION,
    Rule.RETRY_BUDGET: "nothing to be done for this job; report it, with its events",
    Rule.SEATS_ARE_PLACEMENTS: f"cancel the job and retry it if it is live; {TAMPERED}",
    Rule.NODE_OVER_LIMIT: "cordon the node until some of its tasks have ended, unless the node itself shrank",
    Rule.EVENTS_TELL_ALL: TAMPERED,
    Rule.TOKENS_GROW: TAMPERED,
    Rule.TIMES_IN_ORDER: "compare the clocks of server and database; nothing else depends on it",
    Rule.CLUSTER_NOT_READY: "nothing to be done; report it, with the cluster's events",
    Rule.LAUNCHES_FIT_CLAIM: "release the claim, and look in the cloud for machines with its tag",
    Rule.RANKS_OF_ASK: TAMPERED,
    Rule.LOG_IS_WHOLE: "the output of that rank is lost in part; cancel and retry the job if it is needed",
    Rule.UNEXPLAINED_WAIT: "restart the server: its scheduler begins anew from the rows",
    Rule.EDGES: "stop the server and run `crossdock server init` of the version that made the database",
    Rule.REPLICA_OF_NOBODY: "cancel it with `crossdock jobs cancel`",
    Rule.REFERENCES: TAMPERED,
    Rule.READABLE: TAMPERED,
    Rule.LEFT_BEHIND: "remove it with the provider's own tools; it is forgotten once it is no longer listed",
    Rule.OUTSIDE_RESIDENCY: "cancel the job, or widen the rule with `crossdock residency set`",
    Rule.PROCESS_OF_NOBODY: (
        "it may belong to another control plane or to an archived job: ask whoever shares the cluster, then "
        "stop it with Ray's own tools"
    ),
}

WITHOUT_MORE: Final = frozenset(
    {
        Rule.SEATS_NOT_RELEASED,
        Rule.ONE_HOLDER,
        Rule.COUNTS,
        Rule.SITE_OF_NOBODY,
        Rule.CLUSTER_WITHOUT_KEEPER,
    }
)
"""Repaired from the subject alone; any other needs to know whose look is due, or where something runs."""


def is_repairable(breach: Breach) -> bool:
    return breach.rule in WITHOUT_MORE or breach.due is not None or breach.cluster_id is not None


def remedy(breach: Breach) -> str:
    """One sentence, for people."""
    return (BY_REPAIR if is_repairable(breach) else BY_HAND)[breach.rule]
