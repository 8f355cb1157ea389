"""Projects, queues and tokens: who may do what, and where work waits."""

from collections.abc import Iterator
from datetime import datetime

from controlplane.sdk.bodies import body
from controlplane.sdk.transport import Transport, parse
from controlplane.wire.admin import (
    ProjectCreate,
    ProjectDocument,
    QueueCreate,
    QueueDocument,
    Role,
    TokenCreate,
    TokenCreated,
    TokenDocument,
)
from controlplane.wire.base import Page


class Projects:
    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def create(self, name: str) -> ProjectDocument:
        """Comes with a queue named `default`."""
        wanted = body(ProjectCreate, name=name)
        return parse(ProjectDocument, self._transport.post("/v1/projects", wanted))

    def list(self) -> Iterator[ProjectDocument]:
        return self._transport.items("/v1/projects", Page[ProjectDocument])


class Queues:
    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def create(self, name: str, *, project: str = "default") -> QueueDocument:
        wanted = body(QueueCreate, name=name, project=project)
        return parse(QueueDocument, self._transport.post("/v1/queues", wanted))

    def list(self, *, project: str | None = None) -> Iterator[QueueDocument]:
        return self._transport.items("/v1/queues", Page[QueueDocument], params={"project": project})


class Tokens:
    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def create(
        self, name: str, *, role: Role, project: str | None = None, expires_at: datetime | None = None
    ) -> TokenCreated:
        """The answer's `secret` is shown once. `project` None makes it good for all projects."""
        wanted = body(TokenCreate, name=name, role=role, project=project, expires_at=expires_at)
        return parse(TokenCreated, self._transport.post("/v1/tokens", wanted))

    def list(self) -> Iterator[TokenDocument]:
        return self._transport.items("/v1/tokens", Page[TokenDocument])

    def revoke(self, token_id: str) -> TokenDocument:
        """Takes effect within seconds."""
        return parse(TokenDocument, self._transport.post(f"/v1/tokens/{token_id}/revoke"))
