"""Planted bugs of bought machines and of the Ray clusters they form; see plants.py.

Projects beside their own repositories: `karpenter` is karpenter-provider-aws, `pulumi` is pulumi-cloud.
"""

from typing import Final

from tests.sim.plants import CLAIMS, FLOORS, PICTURES, Edit, Plant, plant

LEFTOVERS: Final = "controlplane/reconcilers/leftovers.py"
LOOPS: Final = "controlplane/runtime/claims.py"
MACHINES: Final = "controlplane/operations/machines.py"
SITES: Final = "tests/unit/runtime/test_sites.py"

CLOUD_PLANTS: Final = (
    plant(
        "part of a gang is kept",
        CLAIMS,
        "    if len(machines) >= launch.machines:\n",
        "    if machines:\n",
        seen_in="dstack #4146",
    ),
    plant(
        "the next zone is asked before the old launch is resolved",
        CLAIMS,
        "    return _tend(view) if launch is None else _pursue(view, launch)",
        "    if launch is None or view.now - launch.created_at > timedelta(seconds=20):\n"
        "        return _tend(view)\n"
        "    return _pursue(view, launch)",
        seen_in="skypilot #4431",
    ),
    plant(
        "machines of another claim are ended",
        CLAIMS,
        "for each in listed.machines if each.claim_id == view.claim.id)",
        "for each in listed.machines)",
    ),
    plant(
        "released while it is being bought, and forgotten",
        CLAIMS,
        "def _launching(view: ClaimView) -> ClaimDecision:\n    if _must_go(view):\n"
        "        return _move(view, ClaimState.TERMINATING,",
        "def _launching(view: ClaimView) -> ClaimDecision:\n    if _must_go(view):\n"
        "        return _move(view, ClaimState.GONE,",
        seen_in="ray #8599, skypilot #4410",
    ),
    plant(
        "machines that never join are kept",
        CLAIMS,
        "    if view.claim.state is not ClaimState.LAUNCHING or not is_late:\n",
        "    if view.now >= view.claim.since:\n",
        seen_in="karpenter #8720",
    ),
    plant(
        "a machine that never speaks is kept beside others",
        CLAIMS,
        "    if never := _never_heard_of(view, alive):\n",
        "    if (never := _never_heard_of(view, alive)) and not alive:\n",
        seen_in="karpenter #2832",
    ),
    plant(
        "the head's death is ignored",
        CLAIMS,
        "    if view.head is not None and view.head not in _names(alive):\n",
        "    if view.head is not None and not _names(alive):\n",
        seen_in="kuberay #1141",
        net=SITES,
    ),
    plant(
        "the head of a launch that was rolled back stays head",
        LOOPS,
        "claim.state is ClaimState.GONE or _is_of(tx, site, decision.resolve)",
        "claim.state is ClaimState.GONE",
        net=SITES,
    ),
    plant(
        "a site outlives its claim",
        LOOPS,
        "claim.state is ClaimState.GONE or _is_of(tx, site, decision.resolve)",
        "_is_of(tx, site, decision.resolve)",
    ),
    plant(
        "a machine of a claim that is over may check in",
        MACHINES,
        "    if claim.state in (ClaimState.TERMINATING, ClaimState.GONE) or launch",
        "    if launch",
        seen_in="karpenter #2734",
    ),
    plant(
        "the dead man's switch is not renewed",
        CLAIMS,
        "    if not view.renews or (until",
        "    if view.renews or (until",
    ),
    plant(
        "machines are renewed while they are ended",
        CLAIMS,
        "            return ClaimDecision(call=Terminate())",
        "            return _renewal(view) or ClaimDecision(call=Terminate())",
    ),
    plant(
        "leftovers are removed without a grace",
        LEFTOVERS,
        "    return rested and now - stray.seen_at >= grace",
        "    return rested",
        net="tests/unit/reconcilers/test_leftovers.py",
    ),
    plant(
        "leftovers are removed though somebody uses them",
        LEFTOVERS,
        "    return ClaimId(thing.claim_id) not in view.live_claims",
        "    return True",
    ),
    plant(
        "a zone is left out of the sweep",
        LEFTOVERS,
        "for each in view.things if _is_strange(view, each)}",
        "for each in view.things if each.zone != 'b' and _is_strange(view, each)}",
        seen_in="pulumi #222",
    ),
    plant(
        "machines of nobody are only listed",
        "controlplane/reconcilers/orphans.py",
        "if orphan.name in listed and _is_due(view, orphan, grace)),",
        "if orphan.name in listed and not listed),",
        seen_in="dstack #3453",
    ),
    plant(
        "what was built for an attempt outlives it",
        CLAIMS,
        "    if view.claim.shares and not view.has_tasks:",
        "    if view.claim.shares and not view.has_tasks and not view.launches:",
        seen_in="kuberay #3860",
    ),
    Plant(
        name="warm machines are used across trust domains",
        edits=(
            Edit(
                path=FLOORS,
                old="        if self.claim.trust_domain not in (SHARED, trust_domain):",
                new="        if not trust_domain:",
            ),
            Edit(
                path="schedulers/priority.py",
                old="if cluster.blocked is not None or not cluster.lets_in(ask_class):",
                new="if cluster.blocked is not None:",
            ),
        ),
    ),
    Plant(
        name="placed on machines that are being given back",
        edits=(
            Edit(
                path=FLOORS,
                old="        if not self.claim.takes_tasks:",
                new="        if self.claim is None:",
            ),
            Edit(
                path=PICTURES,
                old='(None if claim.takes_tasks else f"is {claim.state}")',
                new="None",
            ),
            Edit(
                path="controlplane/operations/cordons.py",
                old="    takes_tasks = claim is not None and claim.takes_tasks\n",
                new="    takes_tasks = claim is not None\n",
            ),
        ),
        seen_in="dstack #3449",
    ),
)
