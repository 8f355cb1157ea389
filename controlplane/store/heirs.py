"""Heirs: for whom the seats are kept that victims of a preemption still hold."""

from collections.abc import Sequence
from typing import Final

from sqlalchemy import bindparam, select, update

from controlplane.domain.amounts import Amounts
from controlplane.domain.ids import AskId, AttemptId, NodeId
from controlplane.store.links import Link
from controlplane.store.rows import amounts_of
from controlplane.store.schema import SEATS
from controlplane.store.statements import Statement, is_in, listed

_S: Final = SEATS.c
_IS_HELD: Final = _S.released_at.is_(None)
_BEQUEATH: Final = Statement(
    update(SEATS).where(is_in(_S.attempt_id, "ids"), _IS_HELD).values(heir=bindparam("heir")), table=SEATS
)
_BEQUEATH_RANK: Final = Statement(
    update(SEATS)
    .where(_S.attempt_id == bindparam("id"), _S.rank == bindparam("place"), _IS_HELD)
    .values(heir=bindparam("heir")),
    table=SEATS,
)
_INHERITED: Final = Statement(
    select(_S.node_id, _S.heir, _S.cpu_milli, _S.memory_bytes, _S.gpu_milli, _S.custom_milli)
    .where(_S.heir.is_not(None), _IS_HELD)
    .order_by(_S.node_id, _S.attempt_id, _S.rank)
)


class Heirs:
    __slots__ = ("_link",)

    def __init__(self, link: Link) -> None:
        self._link = link

    def bequeath(self, attempt_ids: Sequence[AttemptId], heir: AskId) -> None:
        """Writes the heir on every seat that the attempts still hold."""
        self._link.change(_BEQUEATH, {"ids": listed(attempt_ids), "heir": heir})

    def bequeath_ranks(self, attempt_id: AttemptId, ranks: Sequence[int], heir: AskId) -> None:
        """Of seats that the attempt still holds, those with these ranks."""
        self._link.change_all(
            _BEQUEATH_RANK, [{"id": attempt_id, "place": rank, "heir": heir} for rank in ranks]
        )

    def inherited(self) -> list[tuple[NodeId, AskId, Amounts]]:
        """What is still held on seats that have an heir: by node, for whom, and how much."""
        return [
            (NodeId(node_id), AskId(heir), amounts_of(*amounts))
            for node_id, heir, *amounts in self._link.rows(_INHERITED)
        ]
