"""Ray's Jobs API over HTTP: the raw calls, and one table from its answers to our errors."""

import hashlib
import threading
from dataclasses import dataclass
from typing import Any, cast

import httpx

from cloud_adapters import dialling
from controlplane.domain.clusters import Endpoint
from controlplane.domain.errors import Ambiguous, AuthFailed, PluginError, Rejected, Throttled, Transient

THROTTLE_SECONDS = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class JobInfo:
    """What Ray says of one job."""

    state: str
    """PENDING, RUNNING, SUCCEEDED, FAILED or STOPPED."""

    exit_code: int | None
    error_type: str | None
    message: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedJob:
    """A job that was submitted through the Jobs API, by whomever."""

    id: str
    state: str
    entrypoint: str


class RayJobs:
    """One cluster's Jobs API. Holds one kept-alive client; safe for threads."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._http = dialling.client(endpoint)
        self._uploaded: set[tuple[str, str]] = set()
        self._lock = threading.Lock()

    def session(self, *, deadline: float) -> str:
        """The name of Ray's present life; another head start is another name."""
        return str(self._json("GET", "/api/version", deadline=deadline)["session_name"])

    def upload(self, archive: bytes, *, session: str, deadline: float) -> str:
        """Puts a zip into the cluster once per session and returns its URI."""
        name = f"_ray_pkg_{hashlib.sha256(archive).hexdigest()[:32]}.zip"
        uri = f"gcs://{name}"
        if (session, name) in self._uploaded:
            return uri
        path = f"/api/packages/gcs/{name}"
        if self._call("GET", path, deadline=deadline, fine=(404,)).status_code == httpx.codes.NOT_FOUND:
            self._call("PUT", path, deadline=deadline, content=archive)
        with self._lock:
            self._uploaded.add((session, name))
        return uri

    def submit(self, body: dict[str, Any], *, deadline: float) -> None:  # JSON object of Ray's API
        """Raises `Ambiguous` when Ray may have taken it. A job that Ray already has counts as taken."""
        try:
            answer = self._http.post("/api/jobs/", json=body, timeout=deadline)
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise Transient(f"ray did not answer: {error}") from error
        except httpx.HTTPError as error:
            raise Ambiguous(f"ray may have taken the job: {error!r}") from error
        if answer.status_code >= httpx.codes.INTERNAL_SERVER_ERROR:
            if "already exists" in answer.text:  # Ray's answer to a second submit of the same id
                return
            raise Ambiguous(f"ray answered {answer.status_code}: {_tail(answer.text)}")
        _check(answer)

    def stop(self, job_id: str, *, deadline: float) -> None:
        self._call("POST", f"/api/jobs/{job_id}/stop", deadline=deadline, fine=(404,))

    def info(self, job_id: str, *, deadline: float) -> JobInfo | None:
        """None: Ray does not know it."""
        answer = self._call("GET", f"/api/jobs/{job_id}", deadline=deadline, fine=(404,))
        if answer.status_code == httpx.codes.NOT_FOUND:
            return None
        found = answer.json()
        return JobInfo(
            state=found["status"],
            exit_code=found.get("driver_exit_code"),
            error_type=found.get("error_type"),
            message=found.get("message"),
        )

    def listed(self, *, deadline: float) -> list[ListedJob]:
        """All that Ray still knows, ended ones included."""
        rows = cast("list[dict[str, Any]]", self._call("GET", "/api/jobs/", deadline=deadline).json())
        return [
            ListedJob(id=row["submission_id"], state=row["status"], entrypoint=row["entrypoint"])
            for row in rows
            if row.get("submission_id")  # others joined the cluster as drivers of their own
        ]

    def close(self) -> None:
        self._http.close()

    def _json(self, method: str, path: str, *, deadline: float) -> dict[str, Any]:  # JSON object of Ray's API
        return cast("dict[str, Any]", self._call(method, path, deadline=deadline).json())

    def _call(
        self,
        method: str,
        path: str,
        *,
        deadline: float,
        content: bytes | None = None,
        fine: tuple[int, ...] = (),
    ) -> httpx.Response:
        try:
            answer = self._http.request(method, path, timeout=deadline, content=content)
        except httpx.HTTPError as error:
            raise Transient(f"ray did not answer: {error!r}") from error
        if answer.status_code not in fine:
            _check(answer)
        return answer


def _check(answer: httpx.Response) -> None:
    code = answer.status_code
    if code < httpx.codes.BAD_REQUEST:
        return
    text = f"ray answered {code}: {_tail(answer.text)}"
    if code in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
        raise AuthFailed(f"the token was refused: {text}")
    if code == httpx.codes.TOO_MANY_REQUESTS:
        raise Throttled(text, retry_after_seconds=THROTTLE_SECONDS)
    kind: type[PluginError] = Transient if code >= httpx.codes.INTERNAL_SERVER_ERROR else Rejected
    raise kind(text)


def _tail(text: str) -> str:
    """The last line says what happened; the rest is Ray's traceback."""
    lines = text.strip().splitlines()
    return lines[-1][:300] if lines else "nothing"
