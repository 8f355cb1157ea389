"""Credentials come from where they lie, and programs of a kubeconfig are run by the official client."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from cloud_adapters.base import AuthFailed, Rejected
from cloud_adapters.kubernetes.client import dialled, dialled_from_within
from cloud_adapters.kubernetes.kubeconfig import Permissions, access_of
from tests.kube.certificates import Authority

PERMISSIVE = Permissions(commands=True, local_addresses=True)
SERVER = "https://127.0.0.1:6443"


def kubeconfig(user: dict[str, object]) -> str:
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "c",
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "c"}}],
            "clusters": [{"name": "c", "cluster": {"server": SERVER}}],
            "users": [{"name": "c", "user": user}],
        }
    )


def plugin(script: str) -> dict[str, object]:
    return {
        "exec": {
            "apiVersion": "client.authentication.k8s.io/v1",
            "command": sys.executable,
            "args": ["-c", script],
            "interactiveMode": "Never",
        }
    }


def test_a_service_account_is_read_from_where_its_pod_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.96.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    token = tmp_path / "token"
    token.write_text("first")
    authority = Authority(tmp_path)
    api = dialled_from_within(token_file=str(token), ca_file=str(authority.path))
    assert (api.access.server, api.route.ca_pem) == ("https://10.96.0.1:443", authority.pem)
    assert str(api.authorization()).lower() == "bearer first"
    api.close()


def test_outside_a_pod_there_is_no_service_account(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(Rejected, match="runs in no pod"):
        dialled_from_within()


def test_a_permitted_command_gives_the_token() -> None:
    script = (
        "import json; print(json.dumps({'apiVersion': 'client.authentication.k8s.io/v1', "
        "'kind': 'ExecCredential', 'status': {'token': 'minted'}}))"
    )
    text = kubeconfig(plugin(script))
    api = dialled(access_of(text, PERMISSIVE), text)
    assert api.authorization() == "Bearer minted"
    api.close()


def test_a_command_that_fails_is_told() -> None:
    text = kubeconfig(plugin("raise SystemExit(3)"))
    with pytest.raises(AuthFailed, match="gave no credentials"):
        dialled(access_of(text, PERMISSIVE), text)


def test_a_ca_that_cannot_be_read_is_rejected() -> None:
    text = kubeconfig({"token": "t"})
    with pytest.raises(Rejected, match="cannot be read"):
        dialled(replace(access_of(text, PERMISSIVE), ca_pem="no certificate"), text)
