"""`crossdock doctor`: what must hold, and does not; beside a running server or without one."""

import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cloud_adapters.base import ClusterRef, Hosts, PluginError
from cloud_adapters.local.place import Place
from cloud_adapters.local.processes import members
from cloud_adapters.local.settings import directory_of
from controlplane import bootstrap
from controlplane.cli.text import printable
from controlplane.domain.clusters import Cluster
from controlplane.domain.errors import Bug, Unavailable
from controlplane.domain.invariants import Breach, Rule
from controlplane.operations.context import Context
from controlplane.operations.doctor import (
    Mend,
    Ports,
    Report,
    examine,
    is_repairable,
    lasting,
    note,
    remedy,
    repair,
)
from controlplane.settings import Settings

ALL_WELL: Final = 0
FINDINGS: Final = 1
COULD_NOT_LOOK: Final = 2
GUARD_SECONDS: Final = 5.0
"""A guard whose keeper was killed needs about so long to tidy up."""

END_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    breach: Breach
    mend: Mend | None = None
    """None: nothing was tried."""


def doctor(settings: Settings, *, repair: bool, as_json: bool) -> int:
    """Returns 0 when all is well, 1 with findings, 2 when something could not be looked at and nothing was found."""
    context = bootstrap.context(settings)
    try:
        return _examined(context, _ports(settings), repairs=repair, as_json=as_json)
    except (Unavailable, Bug) as away:
        hint = (
            "; `crossdock server init` brings an older database up to date" if isinstance(away, Bug) else ""
        )
        print(printable(f"could not look: {away.message}{hint}"), file=sys.stderr)
        return COULD_NOT_LOOK
    finally:
        context.store.close()


def _ports(settings: Settings) -> Ports:
    plugins = bootstrap.plugins(settings)
    return Ports(adapters=plugins.adapters, executor=plugins.executor)


def _examined(context: Context, ports: Ports, *, repairs: bool, as_json: bool) -> int:
    report = examine(context, ports, pause=time.sleep, clock=time.monotonic)
    breaches = (*report.breaches, *_unkept(context))
    findings = [
        Finding(breach=breach, mend=_mended(context, ports, breach) if repairs else None)
        for breach in breaches
    ]
    for line in (_documents if as_json else _lines)(report, findings):
        print(line)
    if findings:
        return FINDINGS
    return COULD_NOT_LOOK if report.unseen else ALL_WELL


def _mended(context: Context, ports: Ports, breach: Breach) -> Mend | None:
    if breach.rule is Rule.CLUSTER_WITHOUT_KEEPER:
        return _swept(context, ports, breach)
    return repair(context, ports, breach)


def _unkept(context: Context) -> tuple[Breach, ...]:
    """Embedded clusters of this machine whose keepers were killed, and whose processes live on."""
    with context.store.read() as tx:
        clusters = [cluster for cluster in tx.clusters.list() if cluster.adapter == "local"]
    if not (first := _without_keeper(clusters)):
        return ()
    time.sleep(GUARD_SECONDS)
    return lasting(first, _without_keeper(clusters))


def _without_keeper(clusters: Sequence[Cluster]) -> list[Breach]:
    found: list[Breach] = []
    for cluster in clusters:
        life = Place(directory=directory_of(_ref(cluster))).life()
        left = () if life is None or life.is_kept else members(life.tag, Path(life.folder))
        if left:
            count = f"{len(left)} processes of cluster {cluster.name}"
            sentence = f"{count} live on without a keeper, {left[0].pid} among them"
            found.append(Breach(rule=Rule.CLUSTER_WITHOUT_KEEPER, subject=cluster.id, sentence=sentence))
    return found


def _swept(context: Context, ports: Ports, breach: Breach) -> Mend:
    with context.store.read() as tx:
        cluster = next(each for each in tx.clusters.list() if each.id == breach.subject)
    adapter = ports.adapters.get(cluster.adapter)
    try:
        if isinstance(adapter, Hosts):
            adapter.shut_down(_ref(cluster), deadline=END_SECONDS)
    except PluginError as problem:
        return Mend(sentence=problem.message, is_done=False)
    note(context, breach, "ended what was left of it")
    return Mend(sentence="ended what was left of it", is_done=True)


def _ref(cluster: Cluster) -> ClusterRef:
    return ClusterRef(id=cluster.id, name=cluster.name, endpoint=None, settings=cluster.settings)


def _lines(report: Report, findings: Sequence[Finding]) -> Iterator[str]:
    """For people: one line each, and a summary."""
    for finding in findings:
        breach = finding.breach
        yield printable(f"{breach.rule}: {breach.subject} {breach.sentence}; {_what_now(finding)}")
    for each in report.unseen:
        yield printable(f"could not look at cluster {each.subject}: {each.sentence}")
    yield from (f"note: {printable(sentence)}" for sentence in report.notes)
    looked = f"looked at {report.jobs} jobs, {report.claims} claims and {report.clusters} clusters"
    verdict = _verdict(report, findings)
    yield f"{verdict}; {looked} in {report.seconds:.1f} s"


def _verdict(report: Report, findings: Sequence[Finding]) -> str:
    repaired = sum(finding.mend is not None and finding.mend.is_done for finding in findings)
    parts = [f"{len(findings)} findings"] if findings else []
    parts += [f"{repaired} of them repaired"] if repaired else []
    parts += [f"{len(report.unseen)} clusters could not be looked at"] if report.unseen else []
    return ", ".join(parts) or "all is well"


def _what_now(finding: Finding) -> str:
    mend = finding.mend
    if mend is None:
        return remedy(finding.breach)
    return f"repaired: {mend.sentence}" if mend.is_done else f"not repaired: {mend.sentence}"


def _documents(report: Report, findings: Sequence[Finding]) -> Iterator[str]:
    """For programs: one JSON document per line."""
    for finding in findings:
        breach, mend = finding.breach, finding.mend
        yield json.dumps(
            {
                "kind": "finding",
                "rule": breach.rule,
                "subject": breach.subject,
                "sentence": breach.sentence,
                "remedy": remedy(breach),
                "is_repairable": is_repairable(breach),
                "repair": None if mend is None else {"is_done": mend.is_done, "sentence": mend.sentence},
            }
        )
    for each in report.unseen:
        yield json.dumps({"kind": "unseen", "subject": each.subject, "sentence": each.sentence})
    yield json.dumps(
        {
            "kind": "summary",
            "findings": len(findings),
            "unseen": len(report.unseen),
            "notes": report.notes,
            "jobs": report.jobs,
            "claims": report.claims,
            "clusters": report.clusters,
            "seconds": round(report.seconds, 3),
        }
    )
