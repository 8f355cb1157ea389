"""Metrics: what went through a gateway since it began, in the text form that Prometheus reads."""

from collections.abc import Iterator
from itertools import accumulate
from typing import Final

from controlplane.domain.traffic import LATENCY_EDGES_MS
from controlplane.gateway.directory import Directory
from controlplane.gateway.loads import Loads, Tally

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
PREFIX: Final = "crossdock_gateway"
KINDS: Final = (
    ("requests_total", "counter", "Replicas asked."),
    ("errors_total", "counter", "Of these, answered with 5xx or not at all."),
    ("in_flight", "gauge", "Requests under way, those that wait included."),
    ("waiting", "gauge", "Requests that wait for a replica."),
    ("latency_seconds", "histogram", "From waiting for a replica to the end of its answer."),
)


def exposition(directory: Directory, loads: Loads) -> str:
    tallies = list(_labelled(directory, loads))
    lines = []
    for kind, form, about in KINDS:
        lines += [f"# HELP {PREFIX}_{kind} {about}", f"# TYPE {PREFIX}_{kind} {form}"]
        for labels, tally in tallies:
            lines += [f"{PREFIX}_{each}" for each in _samples(kind, labels, tally)]
    return "\n".join(lines) + "\n"


def _labelled(directory: Directory, loads: Loads) -> Iterator[tuple[str, Tally]]:
    names = {desk.route.service_id: desk.name for desk in directory}
    for (service_id, revision_id), tally in sorted(loads.tallies.items(), key=str):
        if service_id in names:
            yield f'service="{names[service_id]}",revision="{revision_id or ""}"', tally


def _samples(kind: str, labels: str, tally: Tally) -> Iterator[str]:
    match kind:
        case "requests_total":
            yield f"{kind}{{{labels}}} {tally.total_requests}"
        case "errors_total":
            yield f"{kind}{{{labels}}} {tally.total_errors}"
        case "in_flight":
            yield f"{kind}{{{labels}}} {tally.in_flight}"
        case "waiting":
            yield f"{kind}{{{labels}}} {tally.waiting}"
        case _:
            yield from _histogram(kind, labels, tally)


def _histogram(kind: str, labels: str, tally: Tally) -> Iterator[str]:
    edges = (*(f"{edge / 1000:g}" for edge in LATENCY_EDGES_MS), "+Inf")
    for edge, count in zip(edges, accumulate(tally.total_latency_ms), strict=True):
        yield f'{kind}_bucket{{{labels},le="{edge}"}} {count}'
    yield f"{kind}_sum{{{labels}}} {tally.total_ms / 1000:.6f}"
    yield f"{kind}_count{{{labels}}} {tally.total_requests}"
