"""Starts a training: `python -m learning.training`."""

import sys

from .settings import STOPPED, Launch, Settings, parse


def main() -> int:
    settings = parse(None)
    return 0 if _trained(settings) else STOPPED


def _trained(settings: Settings) -> bool:
    if settings.launch is Launch.TASKS:
        from . import gang  # which needs no Ray

        return gang.train(settings)
    from . import driver

    return driver.drive(settings)


if __name__ == "__main__":
    sys.exit(main())
