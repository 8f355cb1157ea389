"""Pods as processes: each in namespaces of its own with a real address, so that what runs in them is real.

Of a pod's spec the command, the environment with its Secrets, and the HTTP readiness probe are honoured; names of
services go into the pod's /etc/hosts. Images, volumes and limits are not: the file system is the host's.
"""

import base64
import re
import sys
from contextlib import closing
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Final

from tests.hypervisor.hypervisor import Guest, Hypervisor
from tests.kube.nodes import Container
from tests.kube.ray_operator import is_ready
from tests.kube.rest import Json, Rest

SERVICE: Final = re.compile(r"([a-z0-9-]+)\.([a-z0-9-]+)\.svc[a-z.]*")
PATH: Final = f"/usr/local/bin:{Path(sys.executable).parent}:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"
WITH_HOSTS: Final = 'printf "%s\\n" "$0" >> /etc/hosts; exec "$@"'
PROBE_SECONDS: Final = 2.0


@dataclass(slots=True)
class Booted:
    """A `Runner` whose pods really run."""

    rest: Rest
    hypervisor: Hypervisor
    _guests: dict[str, Guest] = field(default_factory=dict)
    """By the pod's uid."""

    def step(self, pod: Json) -> Container:
        guest = self._guests.get(pod["metadata"]["uid"]) or self._started(pod)
        if guest is None:
            return Container(is_running=False, is_ready=False, address=None)
        code = guest.cell.exit_code
        is_ready = code is None and _answers(pod, guest.address)
        return Container(is_running=code is None, is_ready=is_ready, address=guest.address, exit_code=code)

    def end(self, pod: Json) -> bool:
        guest = self._guests.pop(pod["metadata"]["uid"], None)
        if guest is not None:
            self.hypervisor.kill(guest.name)
        return True

    def console(self, pod: Json) -> str:
        guest = self._guests.get(pod["metadata"]["uid"])
        return "never started" if guest is None else guest.console

    def _started(self, pod: Json) -> Guest | None:
        """None while a service that its command names is not ready: two cores start one Ray node at a time."""
        container = pod["spec"]["containers"][0]
        argv = [*container.get("command", ()), *container.get("args", ())]
        hosts = self._hosts(" ".join(argv))
        if hosts is None:
            return None
        guest = self.hypervisor.spawn(
            pod["metadata"]["name"],
            ["/bin/bash", "-c", WITH_HOSTS, hosts, *argv],
            {"PATH": PATH, "RAY_OVERRIDE_RESOURCES": "{}", **self._environment(pod)},
        )
        self._guests[pod["metadata"]["uid"]] = guest
        return guest

    def _hosts(self, text: str) -> str | None:
        lines = []
        for match in SERVICE.finditer(text):
            address = self._ready_address(match[1], match[2])
            if address is None:
                return None
            lines.append(f"{address} {match[0]}")
        return "\n".join(dict.fromkeys(lines))

    def _ready_address(self, service: str, namespace: str) -> str | None:
        endpoints = self.rest.get("endpoints", service, namespace) or {}
        for part in endpoints.get("subsets") or ():
            for each in part.get("addresses") or ():
                pod = self.rest.get("pods", each["targetRef"]["name"], namespace)
                if pod is not None and is_ready(pod):
                    return str(each["ip"])
        return None

    def _environment(self, pod: Json) -> dict[str, str]:
        told = {}
        for each in pod["spec"]["containers"][0].get("env") or ():
            source = (each.get("valueFrom") or {}).get("secretKeyRef")
            told[each["name"]] = self._secret(pod, source) if source else each.get("value", "")
        return told

    def _secret(self, pod: Json, source: Json) -> str:
        secret = self.rest.get("secrets", source["name"], pod["metadata"]["namespace"])
        assert secret is not None, f"no secret {source['name']}"
        return base64.b64decode(secret["data"][source["key"]]).decode()


def _answers(pod: Json, address: str) -> bool:
    probe = (pod["spec"]["containers"][0].get("readinessProbe") or {}).get("httpGet")
    if probe is None:
        return True
    with closing(HTTPConnection(address, probe["port"], timeout=PROBE_SECONDS)) as line:
        try:
            line.request("GET", probe["path"])
            return line.getresponse().status == 200
        except (OSError, HTTPException):
            return False
