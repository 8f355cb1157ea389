"""Figures: what a benchmark measured, each beside a reference of the same run, and the aims it is held to."""

import argparse
import json
import os
import platform
import signal
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal, Never

HEADINGS: Final = ("figure", "value", "unit", "reference", "its value", "ratio", "aim", "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """The same thing done with less, measured in the same minutes on the same machine."""

    name: str
    value: float

    def __post_init__(self) -> None:
        if not self.value > 0:
            raise ValueError(f"{self.name} measured {self.value}: nothing to compare with")


@dataclass(frozen=True, slots=True, kw_only=True)
class Aim:
    """A bound of the value itself, or of its ratio to the reference."""

    of: Literal["value", "ratio"]
    is_ceiling: bool
    limit: float

    def __str__(self) -> str:
        return f"{'<=' if self.is_ceiling else '>='} {self.limit:g}{' x' if self.of == 'ratio' else ''}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    name: str
    value: float
    unit: str
    reference: Reference
    aims: tuple[Aim, ...] = ()
    """One that is met is enough; a figure without any only informs."""

    @property
    def ratio(self) -> float:
        return self.value / self.reference.value

    @property
    def is_met(self) -> bool:
        return not self.aims or any(self._meets(aim) for aim in self.aims)

    @property
    def aim(self) -> str:
        return " or ".join(map(str, self.aims))

    def _meets(self, aim: Aim) -> bool:
        reached = self.value if aim.of == "value" else self.ratio
        return reached <= aim.limit if aim.is_ceiling else reached >= aim.limit


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """What the machine was like. Figures of different days compare by their ratios alone."""

    at: str
    cores: int
    load_before: float
    """Of the last minute, before the benchmark added its own."""

    python: str
    system: str

    @classmethod
    def now(cls) -> "Conditions":
        return cls(
            at=datetime.now(UTC).isoformat(timespec="seconds"),
            cores=os.cpu_count() or 1,
            load_before=round(os.getloadavg()[0], 2),
            python=platform.python_version(),
            system=platform.platform(),
        )

    def __str__(self) -> str:
        return f"{self.at}, {self.cores} cores, load before {self.load_before}, python {self.python}, {self.system}"


def at_most(limit: float) -> Aim:
    return Aim(of="value", is_ceiling=True, limit=limit)


def at_least(limit: float) -> Aim:
    return Aim(of="value", is_ceiling=False, limit=limit)


def at_most_times(limit: float) -> Aim:
    return Aim(of="ratio", is_ceiling=True, limit=limit)


def at_least_times(limit: float) -> Aim:
    return Aim(of="ratio", is_ceiling=False, limit=limit)


def main(about: str, measure: Callable[[], Sequence[Figure]], arguments: Sequence[str] | None = None) -> int:
    """The command line of every benchmark; the answer is its exit code."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to FILE")
    parser.add_argument("--check", action="store_true", help="exit 1 if a figure misses its aim, naming it")
    options = parser.parse_args(arguments)
    conditions = Conditions.now()
    with unwound_by_sigterm(), _own_folder():
        figures = measure()
    print(conditions, table(figures), sep="\n")
    if options.json:
        options.json.write_text(document(conditions, figures), encoding="utf-8")
    missed = [figure for figure in figures if not figure.is_met]
    if options.check:
        sys.stderr.writelines(f"missed: {sentence(figure)}\n" for figure in missed)
    return 1 if options.check and missed else 0


@contextmanager
def unwound_by_sigterm() -> Iterator[None]:
    """So that servers and folders of a benchmark that is told to end are cleared away, however often it is told."""
    before = signal.signal(signal.SIGTERM, _end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _end(number: int, _frame: object) -> Never:
    signal.signal(number, lambda *_: None)
    sys.exit(128 + number)


@contextmanager
def _own_folder() -> Iterator[None]:
    """For temporary files of this process and of all that it starts: what a killed one left goes with the folder."""
    usual, told = tempfile.tempdir, os.environ.get("TMPDIR")
    with tempfile.TemporaryDirectory(prefix="crossdock-", ignore_cleanup_errors=True) as folder:
        tempfile.tempdir = os.environ["TMPDIR"] = folder
        try:
            yield
        finally:
            tempfile.tempdir = usual
            if told is None:
                del os.environ["TMPDIR"]
            else:
                os.environ["TMPDIR"] = told


def sentence(figure: Figure) -> str:
    return (
        f"{figure.name} is {_number(figure.value)} {figure.unit}, {figure.ratio:.2f} x "
        f"{figure.reference.name}; the aim is {figure.aim}"
    )


def table(figures: Iterable[Figure]) -> str:
    rows = [HEADINGS, *(_row(figure) for figure in figures)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADINGS))]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def document(conditions: Conditions, figures: Iterable[Figure]) -> str:
    rows = [asdict(each) | {"ratio": each.ratio, "is_met": each.is_met} for each in figures]
    return json.dumps({"conditions": asdict(conditions), "figures": rows}, indent=2) + "\n"


def _row(figure: Figure) -> tuple[str, ...]:
    verdict = ("met" if figure.is_met else "MISSED") if figure.aims else ""
    reference = figure.reference
    return (
        figure.name,
        _number(figure.value),
        figure.unit,
        reference.name,
        _number(reference.value),
        f"{figure.ratio:.2f}",
        figure.aim,
        verdict,
    )


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"  # noqa: PLR2004 - three digits are what can be trusted
