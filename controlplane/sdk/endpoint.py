"""Where the server is, and with which token it is asked."""

import ipaddress
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from controlplane.sdk.errors import Misconfigured

CLIENT_FILE: Final = "client.json"
"""Written by `crossdock server init` into CROSSDOCK_HOME (default ~/.crossdock): {"url": .., "token": ..}."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    urls: tuple[str, ...]
    """Addresses of one control plane, without trailing slash; the first that answers is used."""

    token: str | None = field(default=None, repr=False)

    @property
    def is_local(self) -> bool:
        return all(_is_loopback(urlsplit(url).hostname or "") for url in self.urls)


def find(
    url: str | Sequence[str] | None, token: str | None, environment: Mapping[str, str] = os.environ
) -> Endpoint:
    """Arguments first, then CROSSDOCK_URL and CROSSDOCK_TOKEN, then the client file.

    The file's token is used with the file's address alone: it must not travel to another server.
    """
    saved = _saved(environment)
    urls = _urls(url or environment.get("CROSSDOCK_URL") or saved.get("url") or "")
    token = token or environment.get("CROSSDOCK_TOKEN")
    if token is None and urls == _urls(saved.get("url", "")):
        token = saved.get("token")
    if not urls:
        raise Misconfigured(
            "no server is known: set CROSSDOCK_URL, or run `crossdock server init` on this machine"
        )
    for each in urls:
        _check(each)
    return Endpoint(urls=urls, token=token)


def _urls(given: str | Sequence[str]) -> tuple[str, ...]:
    parts = given.split(",") if isinstance(given, str) else given
    return tuple(part.strip().rstrip("/") for part in parts if part.strip())


def _saved(environment: Mapping[str, str]) -> Mapping[str, str]:
    home = Path(environment.get("CROSSDOCK_HOME") or Path.home() / ".crossdock")
    path = home.expanduser() / CLIENT_FILE
    try:
        saved = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise Misconfigured(f"{path} cannot be read: {error}") from error
    if not isinstance(saved, dict):
        raise Misconfigured(f"{path} must hold a JSON object with url and token")
    return {key: value for key, value in saved.items() if isinstance(value, str)}


def _check(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise Misconfigured(f"{url!r} is no server address; write for example http://127.0.0.1:8042")
    if parts.scheme == "http" and not _is_loopback(parts.hostname):
        raise Misconfigured(f"{url} would send the token in the clear; off this machine use https")


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
