"""Machines: the door at which bought ones check in, and learn which Ray cluster they form."""

import json
import secrets
from dataclasses import asdict, replace
from datetime import timedelta
from typing import Final

from controlplane.domain.claims import CLAIM_LABEL, MACHINE_LABEL, Claim, ClaimState, LaunchOutcome
from controlplane.domain.clusters import Route
from controlplane.domain.errors import Gone, Unauthenticated
from controlplane.domain.ids import ClaimId, LaunchId
from controlplane.domain.sites import CheckIn, Phase, Site
from controlplane.identity import launch_tokens
from controlplane.operations.context import Context
from controlplane.operations.cordons import nodes_of
from controlplane.operations.endpoints import seal, site_secret
from controlplane.operations.idempotency import write_once
from controlplane.secrets.certificates import claim_authority
from controlplane.store import Tx
from controlplane.wire.machines import CheckInAnswer, CheckInRequest, HeadTls, Role

TLS_PORT: Final = 8443
GCS_PORT: Final = 6379
TOKEN_BYTES: Final = 32
VALIDITY: Final = timedelta(days=400)
"""Of a head's certificate: longer than any claim should last."""

WAITING_SECONDS: Final = 3.0
"""Between two words of a machine that is not up yet."""


def check_in(context: Context, token: str | None, said: CheckInRequest) -> CheckInAnswer:
    """Raises `Unauthenticated`, or `Gone` when the machine must end itself. Idempotent."""
    launch_id = LaunchId(said.launch_id)
    if token is None or not launch_tokens.opens(context.server_key, launch_id, token):
        raise Unauthenticated("this token does not open the launch", field="launch_id", value=said.launch_id)

    def unit(tx: Tx) -> CheckInAnswer:
        claim = _claim_for(tx, said)
        site = tx.sites.get(claim.id) or _founded(context, tx, claim, said)
        before = tx.sites.check_in(_word(tx, said))
        if said.notice is not None and (before is None or before.notice is None):
            _let_go(tx, claim, site, said.machine)
        site = _followed(tx, claim, site, said)
        return _answer(context, tx, site, said)

    return write_once(context.store, unit, None)


def _claim_for(tx: Tx, said: CheckInRequest) -> Claim:
    claim = tx.claims.get(ClaimId(said.claim_id))
    launches = {each.id: each for each in tx.launches.of_claim(ClaimId(said.claim_id))}
    launch = launches.get(LaunchId(said.launch_id))
    if claim is None or launch is None:
        raise Gone("nobody ordered this machine", field="launch_id", value=said.launch_id)
    if claim.state in (ClaimState.TERMINATING, ClaimState.GONE) or launch.outcome is LaunchOutcome.REFUSED:
        raise Gone(f"claim {claim.id} is {claim.state}", field="claim_id", value=claim.id)
    return claim


def _founded(context: Context, tx: Tx, claim: Claim, said: CheckInRequest) -> Site:
    """The first machine to come is the head: its token and certificates are made for this claim alone."""
    name = f"{claim.id.replace('_', '-')}.crossdock.internal"
    authority = claim_authority(name, now=tx.now, validity=VALIDITY)
    secret = {
        "token": secrets.token_hex(TOKEN_BYTES),
        "token_header": "Authorization",
        "route": asdict(Route(ca_pem=authority.ca_pem, server_name=name)),
        "tls": {"certificate_pem": authority.certificate_pem, "key_pem": authority.key_pem},
    }
    site = Site(
        claim_id=claim.id,
        secret_id=seal(context, tx, json.dumps(secret)),
        head=said.machine,
        head_host=said.host,
    )
    tx.sites.put(site)
    return site


def _followed(tx: Tx, claim: Claim, site: Site, said: CheckInRequest) -> Site:
    """The site, now that its head has said where it is and whether its Ray runs."""
    if said.machine != site.head or Phase(said.phase) is not Phase.UP:
        return site
    up = replace(site, head_host=said.host, url=f"https://{_bracketed(said.host)}:{TLS_PORT}")
    if up != site:
        tx.sites.put(up)
        tx.work.poke("site", claim.id)
    return up


def _let_go(tx: Tx, claim: Claim, site: Site, machine: str) -> None:
    """What runs there is stopped while there is time for a checkpoint; when the head goes, what runs on any of them.

    A purchase of a plan ends with it: it was all or none for who waits, and what is bought next should be chosen among
    all that is offered then.
    """
    for node in nodes_of(tx, claim):
        goes_too = machine == site.head or dict(node.labels).get(MACHINE_LABEL) == machine
        if goes_too and node.leaving_at is None:
            tx.nodes.put(replace(node, leaving_at=tx.now, cordoned_at=node.cordoned_at or tx.now))
            tx.work.poke_many("attempt", tx.attempts.on_node(node.id))
    if claim.wanted_by is not None and claim.is_coming and claim.release_requested_at is None:
        taken = f"machine {machine} is being taken back: what it was bought for is bought anew"
        tx.claims.save(claim.changed(release_requested_at=tx.now, problem=taken))
        tx.work.poke("claim", claim.id)


def _answer(context: Context, tx: Tx, site: Site, said: CheckInRequest) -> CheckInAnswer:
    secret = site_secret(context, tx, site)
    is_head = said.machine == site.head
    role: Role = "head" if is_head else "node" if site.is_up else "wait"
    settings = context.settings
    return CheckInAnswer(
        role=role,
        head_host=site.head_host,
        ray_token=None if role == "wait" else secret["token"],
        tls=HeadTls(**secret["tls"]) if is_head else None,
        tls_port=TLS_PORT,
        gcs_port=GCS_PORT,
        labels={CLAIM_LABEL: said.claim_id, MACHINE_LABEL: said.machine},
        again_after_seconds=settings.poll_seconds if Phase(said.phase) is Phase.UP else WAITING_SECONDS,
        dead_man_seconds=settings.dead_man_seconds,
    )


def _word(tx: Tx, said: CheckInRequest) -> CheckIn:
    return CheckIn(
        claim_id=ClaimId(said.claim_id),
        launch_id=LaunchId(said.launch_id),
        machine=said.machine,
        host=said.host,
        phase=Phase(said.phase),
        at=tx.now,
        notice=said.notice.kind if said.notice is not None else None,
        problem=said.problem,
    )


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
