"""Prepares examples: cleans, splits and shards them, and records how."""

import os
from dataclasses import asdict, dataclass

from .. import flags
from . import shards
from .cleaning import clean
from .sources import Source, facts
from .splits import SHARES, split


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    source: Source = Source.DIGITS
    output: str = ""
    """URI of the folder; CROSSDOCK_OUTPUTS_URI where it is empty."""

    seed: int = flags.said(0, least=0)
    shards: int = flags.said(4, "files for each split", least=1)

    def __post_init__(self) -> None:
        flags.require_ranges(self)


def main() -> None:
    settings = flags.parse(Settings, None, prog="python -m learning.data", description="Prepare examples.")
    output = settings.output or os.environ.get("CROSSDOCK_OUTPUTS_URI") or "prepared"
    known = facts(settings.source)
    sound, removed = clean(
        known.read(settings.seed),
        label=known.label,
        classes=known.classes,
        drop_repeated=known.repeats_are_noise,
    )
    indices = split(known.strata(sound), shares=SHARES, seed=settings.seed)
    written = shards.write(
        output,
        {name: sound.take(chosen) for name, chosen in indices.items()},
        source=settings.source,
        seed=settings.seed,
        removed=removed,
        shards=settings.shards,
    )
    print(f"removed {asdict(removed)}")
    for name, part in written.parts.items():
        print(
            f"{name}: {part.examples} examples in {len(part.shards)} shards, content {part.content_sha256[:12]}"
        )


if __name__ == "__main__":
    main()
