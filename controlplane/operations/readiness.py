"""Readiness: whether requests can be served and jobs are being moved."""

from collections.abc import Mapping

from controlplane.domain.errors import Unavailable
from controlplane.operations.context import Context
from controlplane.operations.explain import scheduler_is_away

OK = "ok"


def checks(context: Context) -> Mapping[str, str]:
    """Part -> `ok`, or what is wrong with it."""
    try:
        with context.store.read() as tx:
            scheduler = "no scheduling loop is running" if scheduler_is_away(tx) else OK
    except Unavailable as error:
        return {"database": error.message}
    return {"database": OK, "scheduler": scheduler}
