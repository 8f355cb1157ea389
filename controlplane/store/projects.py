"""Projects' and queues' tables."""

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Final

from sqlalchemy import bindparam, select

from controlplane.domain.ids import ProjectId, QueueId
from controlplane.domain.projects import Project, Queue
from controlplane.store.links import Link
from controlplane.store.rows import Row, micros, moment
from controlplane.store.schema import PROJECTS, QUEUES
from controlplane.store.statements import Statement, bound, inserted, is_in, listed

_PAGE: Final = 10_000
_P: Final = PROJECTS.c
_Q: Final = QUEUES.c
_PROJECT: Final = select(_P.id, _P.name, _P.created_at)
_QUEUE: Final = select(_Q.id, _Q.project_id, _Q.name, _Q.created_at)

_ADD_PROJECT: Final = inserted(PROJECTS)
_GET_PROJECT: Final = Statement(_PROJECT.where(_P.id == bindparam("id")))
_PROJECT_BY_NAME: Final = Statement(_PROJECT.where(_P.name == bindparam("name")))
_PROJECTS_BY_IDS: Final = Statement(_PROJECT.where(is_in(_P.id, "ids")))
_PROJECT_PAGE: Final = Statement(
    _PROJECT.where(_P.name > bindparam("after")).order_by(_P.name).limit(bound("limit"))
)

_ADD_QUEUE: Final = inserted(QUEUES)
_GET_QUEUE: Final = Statement(_QUEUE.where(_Q.id == bindparam("id")))
_QUEUE_BY_NAME: Final = Statement(
    _QUEUE.where(_Q.project_id == bindparam("project_id"), _Q.name == bindparam("name"))
)


class Projects:
    __slots__ = ("_link",)

    def __init__(self, link: Link) -> None:
        self._link = link

    def add(self, project: Project) -> None:
        params = {"id": project.id, "name": project.name, "created_at": micros(project.created_at)}
        self._link.change(_ADD_PROJECT, params)

    def get(self, project_id: ProjectId) -> Project | None:
        return _project_or_none(self._link.row(_GET_PROJECT, {"id": project_id}))

    def by_name(self, name: str) -> Project | None:
        return _project_or_none(self._link.row(_PROJECT_BY_NAME, {"name": name}))

    def by_ids(self, project_ids: Sequence[ProjectId]) -> dict[ProjectId, Project]:
        found = map(_project, self._link.rows(_PROJECTS_BY_IDS, {"ids": listed(project_ids)}))
        return {project.id: project for project in found}

    def list(self, after: str | None, limit: int) -> list[Project]:
        """By name; `after` is the name last seen."""
        rows = self._link.rows(_PROJECT_PAGE, {"after": after or "", "limit": limit})
        return [_project(row) for row in rows]


class Queues:
    __slots__ = ("_link",)

    def __init__(self, link: Link) -> None:
        self._link = link

    def add(self, queue: Queue) -> None:
        params = {
            "id": queue.id,
            "project_id": queue.project_id,
            "name": queue.name,
            "created_at": micros(queue.created_at),
        }
        self._link.change(_ADD_QUEUE, params)

    def get(self, queue_id: QueueId) -> Queue | None:
        return _queue_or_none(self._link.row(_GET_QUEUE, {"id": queue_id}))

    def by_name(self, project_id: ProjectId, name: str) -> Queue | None:
        return _queue_or_none(self._link.row(_QUEUE_BY_NAME, {"project_id": project_id, "name": name}))

    def list(self, project_id: ProjectId | None, after: QueueId | None, limit: int) -> list[Queue]:
        """By id; `after` is the id last seen."""
        params = {"project_id": project_id, "after": after or "", "limit": limit}
        rows = self._link.rows(_queue_page(of_a_project=project_id is not None), params)
        return [_queue(row) for row in rows]

    def every(self, project_id: ProjectId | None = None) -> Iterator[Queue]:
        """All of them by id, read in pages."""
        page, after = self.list(project_id, None, _PAGE), QueueId("")
        while page:
            yield from page
            after = page[-1].id
            page = self.list(project_id, after, _PAGE)


@cache
def _queue_page(*, of_a_project: bool) -> Statement:
    page = _QUEUE.where(_Q.id > bindparam("after")).order_by(_Q.id).limit(bound("limit"))
    return Statement(page.where(_Q.project_id == bindparam("project_id")) if of_a_project else page)


def _project_or_none(row: Row | None) -> Project | None:
    return None if row is None else _project(row)


def _project(row: Row) -> Project:
    id_, name, created_at = row
    return Project(id=ProjectId(id_), name=name, created_at=moment(created_at))


def _queue_or_none(row: Row | None) -> Queue | None:
    return None if row is None else _queue(row)


def _queue(row: Row) -> Queue:
    id_, project_id, name, created_at = row
    return Queue(
        id=QueueId(id_),
        project_id=ProjectId(project_id),
        name=name,
        created_at=moment(created_at),
    )
