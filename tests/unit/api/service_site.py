"""A control plane with services, their loop driven by hand."""

import hashlib
import io
import zipfile
from dataclasses import dataclass
from typing import Any, Final, cast

from controlplane.domain.attempts import Attempt
from controlplane.domain.traffic import ServiceRoute
from controlplane.identity.attempt_tokens import attempt_token
from controlplane.identity.principals import Role
from controlplane.operations import records, traffic
from controlplane.runtime.services import ServiceStep
from controlplane.store import Tx
from controlplane.wire.protocol import RecordBatch
from tests.unit.api.client import Api, app_over
from tests.unit.operations.world import World

Document = dict[str, Any]
SPEC: Final[Document] = {
    "name": "echo",
    "import_path": "echo:Echo",
    "replicas": {"min": 1, "max": 3, "stable_seconds": 10.0},
    "release": {"bake_seconds": 0.0},
}


@dataclass(slots=True, kw_only=True)
class Site:
    plane: World
    api: Api
    code: str

    def deploy(self, **changes: object) -> Document:
        answer = self.api.post("/v1/services", SPEC | {"working_dir": self.code} | changes)
        assert answer.status_code == 201, answer.text
        return cast("Document", answer.json())

    def do(self, service_id: str, deed: str, body: object = None) -> Document:
        answer = self.api.post(f"/v1/services/{service_id}/{deed}", body)
        assert answer.status_code < 300, answer.text
        return cast("Document", answer.json())

    def revise(self, service_id: str, **changes: object) -> Document:
        return self.do(service_id, "revisions", SPEC | {"working_dir": self.code} | changes)

    def look(self, seconds: float = 0) -> None:
        """The loop takes up what is due by then."""
        self.plane.clock.pass_seconds(seconds)
        step = ServiceStep(self.plane.context)

        def unit(tx: Tx) -> int:
            items = tx.work.claim("service", "test", 10, 60.0)
            step.record(tx, step.act(step.begin(items, ())))
            return len(items)

        while self.plane.store.write(unit):
            pass

    def replicas(self, service_id: str) -> list[Document]:
        return cast("list[Document]", self.api.get(f"/v1/services/{service_id}/replicas").json()["items"])

    def start(self, service_id: str, *, port: int = 9000, host: str = "127.0.0.2") -> Attempt:
        """Places the first replica that waits; it says that it is ready."""
        waiting = next(each for each in self.replicas(service_id) if each["state"] == "queued")
        with self.plane.store.read() as tx:
            cluster = tx.clusters.list()[0]
        placed = self.plane.place(self.plane.job(waiting["job_id"]), cluster)
        started = self.plane.change(placed, placed.start(session="s1", at=self.plane.clock.at))
        running = self.plane.change(started, started.run(at=self.plane.clock.at))
        self.say(running, url=f"http://{host}:{port}", ready=True)
        self.look()
        return running

    def say(self, attempt: Attempt, *, seq: int = 1, **endpoint: object) -> None:
        said = {"seq": seq, "at": self.plane.clock.at.isoformat(), "kind": "endpoint", **endpoint}
        batch = RecordBatch.model_validate({"rank": 0, "records": [said]})
        context = self.plane.context
        records.ingest(context, attempt.id, attempt_token(context.server_key, attempt.id), batch)

    def route(self) -> ServiceRoute:
        (route,) = traffic.routes(self.plane.context)
        return route

    def shares(self) -> dict[int, int]:
        return {each.number: each.weight_ppm for each in self.route().revisions}

    def urls(self) -> list[str]:
        return [backend.url for each in self.route().revisions for backend in each.backends]


def site_of(plane: World) -> Site:
    """With a cluster of two nodes and an uploaded archive."""
    plane.cluster()
    api = Api(app_over(plane.context), plane.secret(Role.ADMIN))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("echo.py", "class Echo: ...")
    content = buffer.getvalue()
    answer = api.post("/v1/uploads", content=content, headers={"Content-Type": "application/zip"})
    assert answer.status_code == 201, answer.text
    return Site(plane=plane, api=api, code=f"sha256:{hashlib.sha256(content).hexdigest()}")
