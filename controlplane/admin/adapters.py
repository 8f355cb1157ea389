"""`crossdock adapters list`: which capacity plugin can do what; and the table of docs/adapters-matrix.md."""

import importlib
import json
import sys
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cloud_adapters.base import Builds, Hosts, Lends, Renews, Sells, Sweeps
from controlplane import bootstrap

PORTS: Final[Mapping[str, tuple[type, str]]] = {
    "Lends": (Lends, "says which nodes it has, what they hold, and what others use of them"),
    "Hosts": (Hosts, "starts the Ray cluster itself, on the server's machine"),
    "Sells": (Sells, "machines, or Ray clusters on lent nodes, are ordered from it and given back"),
    "Builds": (Builds, "what it sells are Ray clusters on exactly the booked nodes"),
    "Sweeps": (Sweeps, "finds and removes what purchases leave behind beside machines"),
    "Renews": (Renews, "its machines end by themselves unless their time is moved"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    name: str
    ports: tuple[str, ...]
    """Empty: the plugin does not load."""


def adapters(*, as_json: bool) -> int:
    """Returns 0, or 1 when an installed plugin does not load; the log says why."""
    loaded = bootstrap.adapters()
    rows = [
        Row(name=name, ports=ports_of(loaded[name]) if name in loaded else ())
        for name in bootstrap.installed("cloud_adapters")
    ]
    for line in _documents(rows) if as_json else _columns(rows):
        print(line)
    broken = [row.name for row in rows if not row.ports]
    if broken:
        print(f"installed, but does not load: {', '.join(broken)}", file=sys.stderr)
    return 1 if broken else 0


def ports_of(adapter: object) -> tuple[str, ...]:
    return tuple(name for name, (port, _) in PORTS.items() if isinstance(adapter, port))


def markdown(project: Path) -> str:
    """Of the plugins that the project's own pyproject.toml names, whatever else is installed."""
    entries = tomllib.loads(project.read_text("utf-8"))["project"]["entry-points"]["crossdock.cloud_adapters"]
    rows = [Row(name=name, ports=ports_of(_made(entries[name]))) for name in sorted(entries)]
    lines = [
        "# What each adapter can do",
        "",
        "Made by `python -m controlplane.admin.generate`; `crossdock adapters list` tells it of what is installed.",
        "",
        f"| adapter | {' | '.join(PORTS)} |",
        f"|---|{'---|' * len(PORTS)}",
        *(f"| `{row.name}` | {' | '.join(_mark(row, port) for port in PORTS)} |" for row in rows),
        "",
        *(f"- **{name}**: {meaning}." for name, (_, meaning) in PORTS.items()),
    ]
    return "\n".join(lines) + "\n"


def _made(entry: str) -> object:
    module, _, name = entry.partition(":")
    return getattr(importlib.import_module(module), name)()


def _mark(row: Row, port: str) -> str:
    return "yes" if port in row.ports else "-"


def _documents(rows: Sequence[Row]) -> list[str]:
    return [json.dumps({"name": row.name, "ports": row.ports}) for row in rows]


def _columns(rows: Sequence[Row]) -> list[str]:
    table = [
        ["ADAPTER", *map(str.upper, PORTS)],
        *([row.name, *(_mark(row, port) for port in PORTS)] for row in rows),
    ]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return [
        "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in table
    ]
