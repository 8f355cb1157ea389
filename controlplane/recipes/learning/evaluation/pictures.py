"""Pictures: measurements as horizontal bars in an SVG of one file, without a library."""

from collections.abc import Callable, Mapping
from html import escape
from typing import Final

from ..compression.measuring import Measured

ROW: Final = 28
BAR: Final = 18
NAMES: Final = 110
WIDTH: Final = 150
FIGURES: Final = 80
PANEL: Final = WIDTH + FIGURES
TOP: Final = 44
COLOURS: Final = ("#3b6ea8", "#d1822b", "#4a9b6e", "#8a5aa8")

PANELS: Final[tuple[tuple[str, Callable[[Measured], float], Callable[[Measured], str]], ...]] = (
    ("size, kB", lambda each: each.size_bytes, lambda each: f"{each.size_bytes / 1000:.1f}"),
    (
        "latency, microseconds",
        lambda each: each.latency_microseconds,
        lambda each: f"{each.latency_microseconds:.0f}",
    ),
    ("accuracy", lambda each: each.accuracy, lambda each: f"{each.accuracy:.4f}"),
)


def picture(measured: Mapping[str, Measured]) -> str:
    """One panel for each figure, one bar for each model; bars begin at 0."""
    width, height = NAMES + len(PANELS) * PANEL, TOP + len(measured) * ROW + 10
    size = f'width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="13">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
    ]
    lines += [_text(NAMES - 10, _middle(row), name, anchor="end") for row, name in enumerate(measured)]
    for number, (title, value, said) in enumerate(PANELS):
        left = NAMES + number * PANEL
        most = max((value(each) for each in measured.values()), default=0) or 1
        lines.append(_text(left, 24, title, weight="bold"))
        for row, each in enumerate(measured.values()):
            length = WIDTH * value(each) / most
            colour = COLOURS[row % len(COLOURS)]
            top = TOP + row * ROW + (ROW - BAR) / 2
            lines.append(
                f'<rect x="{left}" y="{top:g}" width="{length:.1f}" height="{BAR}" fill="{colour}"/>'
            )
            lines.append(_text(left + length + 6, _middle(row), said(each)))
    return "\n".join([*lines, "</svg>"]) + "\n"


def table(measured: Mapping[str, Measured]) -> str:
    """In Markdown."""
    lines = ["| model | bytes | packed | microseconds | accuracy |", "|---|---|---|---|---|"]
    for name, each in measured.items():
        sizes = f"{each.size_bytes:,} | {each.packed_bytes:,}"
        lines.append(f"| {name} | {sizes} | {each.latency_microseconds:.0f} | {each.accuracy:.4f} |")
    return "\n".join(lines) + "\n"


def _middle(row: int) -> float:
    return TOP + row * ROW + ROW / 2 + 4.5


def _text(x: float, y: float, text: str, *, anchor: str = "start", weight: str = "normal") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-weight="{weight}">{escape(text)}</text>'
    )
