"""Speaks to a Kubernetes API server as an administrator does, for tests: apart from all code of the product."""

import ssl
from collections.abc import Mapping
from typing import Any, Final, Self

import httpx

Json = dict[str, Any]

GROUPS: Final = {
    "rayclusters": "/apis/ray.io/v1",
    "leases": "/apis/coordination.k8s.io/v1",
    "clusterroles": "/apis/rbac.authorization.k8s.io/v1",
    "clusterrolebindings": "/apis/rbac.authorization.k8s.io/v1",
    "roles": "/apis/rbac.authorization.k8s.io/v1",
    "rolebindings": "/apis/rbac.authorization.k8s.io/v1",
    "customresourcedefinitions": "/apis/apiextensions.k8s.io/v1",
}


class Refused(Exception):
    def __init__(self, answer: httpx.Response) -> None:
        super().__init__(
            f"{answer.request.method} {answer.request.url}: {answer.status_code} {answer.text[:500]}"
        )
        self.code = answer.status_code


class Rest:
    def __init__(self, url: str, ca_pem: str, token: str) -> None:
        context = ssl.create_default_context(cadata=ca_pem)
        headers = {"Authorization": f"Bearer {token}"}
        self._http = httpx.Client(base_url=url, headers=headers, verify=context, trust_env=False, timeout=30)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def get(self, what: str, name: str, namespace: str | None = None) -> Json | None:
        answer = self._http.get(f"{path(what, namespace)}/{name}")
        return None if answer.status_code == httpx.codes.NOT_FOUND else _told(answer)

    def list(self, what: str, namespace: str | None = None, **query: str) -> list[Json]:
        items: list[Json] = _told(self._http.get(path(what, namespace), params=query))["items"]
        return items

    def create(self, what: str, thing: Mapping[str, Any], namespace: str | None = None) -> Json:
        return _told(self._http.post(path(what, namespace), json=thing))

    def replace(self, what: str, thing: Mapping[str, Any], namespace: str | None = None) -> Json:
        return _told(self._http.put(f"{path(what, namespace)}/{thing['metadata']['name']}", json=thing))

    def patch(
        self, what: str, name: str, change: Mapping[str, Any], namespace: str | None = None, *, part: str = ""
    ) -> Json:
        """A merge patch; `part` is a subresource such as `/status`."""
        headers = {"Content-Type": "application/merge-patch+json"}
        return _told(self._http.patch(f"{path(what, namespace)}/{name}{part}", json=change, headers=headers))

    def delete(
        self, what: str, name: str, namespace: str | None = None, *, grace_seconds: int | None = None
    ) -> None:
        """Absent is fine."""
        options = {} if grace_seconds is None else {"gracePeriodSeconds": grace_seconds}
        answer = self._http.request("DELETE", f"{path(what, namespace)}/{name}", json=options)
        if answer.status_code != httpx.codes.NOT_FOUND:
            _told(answer)

    def post(self, where: str, thing: Mapping[str, Any]) -> Json:
        return _told(self._http.post(where, json=thing))


def path(what: str, namespace: str | None) -> str:
    base = GROUPS.get(what, "/api/v1")
    return f"{base}/namespaces/{namespace}/{what}" if namespace else f"{base}/{what}"


def _told(answer: httpx.Response) -> Json:
    if answer.status_code >= httpx.codes.BAD_REQUEST:
        raise Refused(answer)
    told: Json = answer.json()
    return told
