"""Kubeconfigs: what an uploaded one says about the way in, and what of it is refused. Pure but for looking up names.

An uploaded file must not make the server run a program, read one of its own files, or dial itself.
"""

import base64
import binascii
import os
import socket
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Self, cast
from urllib.parse import urlsplit

import yaml

from cloud_adapters.base import Rejected, is_loopback, is_metadata
from controlplane.domain.addresses import is_own_machine

COMMANDS: Final = ("exec", "auth-provider")
FILES: Final = ("certificate-authority", "client-certificate", "client-key", "tokenFile")
Lookup = Callable[[str], Iterable[str]]
"""From a host name to its addresses."""

Section = Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Permissions:
    """What whoever runs the server lets those who register clusters do."""

    commands: bool = False
    """Kubeconfigs may name programs, which the server then runs, and files, which it reads."""

    local_addresses: bool = False
    """Addresses of the server's own machine may be dialled."""

    @classmethod
    def read(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """A server that nobody else reaches leads nobody else to its machine."""
        public_host = urlsplit(environment.get("CROSSDOCK_PUBLIC_URL", "")).hostname
        hosts = (environment.get("CROSSDOCK_HOST", "127.0.0.1"), public_host or "127.0.0.1")
        return cls(
            commands=environment.get("CROSSDOCK_KUBECONFIG_COMMANDS") == "true",
            local_addresses=all(map(is_loopback, hosts))
            or environment.get("CROSSDOCK_ALLOW_LOOPBACK_CLUSTERS") == "true",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """The way into one API server."""

    server: str
    """Without a slash at the end."""

    ca_pem: str | None = None
    client_pem: str | None = field(default=None, repr=False)
    authorization: str | None = field(default=None, repr=False)
    """The header's whole value. None: the certificate says who we are, or a command does."""

    server_name: str | None = None
    proxy_url: str | None = None
    context: str = ""
    needs_loader: bool = False
    """The credentials come from commands or files that the kubeconfig names."""


def addresses_of(host: str) -> Iterable[str]:
    """By the system's resolver. A name that nobody knows has none: dialling it will say so."""
    try:
        return sorted({str(found[4][0]) for found in socket.getaddrinfo(host, None)})
    except OSError:
        return ()


def access_of(
    text: str, permissions: Permissions, *, context: str | None = None, lookup: Lookup = addresses_of
) -> Access:
    """Raises `Rejected` with the field's name; never repeats a secret."""
    config = _mapping(_parsed(text), "the kubeconfig")
    name = context or str(config.get("current-context") or "")
    chosen = _named(config, "contexts", "context", name)
    cluster = _named(config, "clusters", "cluster", str(chosen.get("cluster", "")))
    user = _named(config, "users", "user", str(chosen.get("user", "")))
    if not permissions.commands:
        _refuse_commands(user)
        _refuse_files({**cluster, **user})
    if cluster.get("insecure-skip-tls-verify"):
        raise Rejected("the kubeconfig skips the check of the server's certificate; give it the server's CA")
    server = str(cluster.get("server", "")).rstrip("/")
    refuse_local(server, permissions, lookup=lookup)
    proxy = _text(cluster, "proxy-url")
    if proxy is not None:
        refuse_local(proxy, permissions, lookup=lookup)
    return Access(
        server=server,
        ca_pem=_data(cluster, "certificate-authority-data"),
        client_pem=_client_pem(user),
        authorization=_authorization(user),
        server_name=_text(cluster, "tls-server-name"),
        proxy_url=proxy,
        context=name,
        needs_loader=any({**cluster, **user}.get(key) for key in (*COMMANDS, *FILES)),
    )


def refuse_local(url: str, permissions: Permissions, *, lookup: Lookup = addresses_of) -> None:
    """Keeps whoever may register clusters from reaching what only this server may reach."""
    parts = urlsplit(url)
    host = parts.hostname
    if parts.scheme not in {"https", "http", "socks5"} or not host:
        raise Rejected(f"{url!r} is not an address such as https://kubernetes.example.org:6443")
    for address in (host, *lookup(host)):
        if is_metadata(address):
            raise Rejected(f"{url} leads to {address}, a metadata service; such addresses are never dialled")
        if is_own_machine(address) and not permissions.local_addresses:
            raise Rejected(
                f"{url} leads to {address}, the server's own machine, which others would reach through it; "
                "CROSSDOCK_ALLOW_LOOPBACK_CLUSTERS=true permits that"
            )


def _parsed(text: str) -> object:
    try:
        return yaml.safe_load(text.removeprefix("\ufeff"))
    except yaml.YAMLError as problem:
        # The parser's own message quotes the text, which holds secrets.
        raise Rejected("the kubeconfig is not YAML") from problem.with_traceback(None)


def _refuse_commands(user: Section) -> None:
    for key in COMMANDS:
        if user.get(key):
            raise Rejected(
                f"the kubeconfig's user has `{key}`, which runs a program on the server; use a token or a "
                "certificate, or permit programs with CROSSDOCK_KUBECONFIG_COMMANDS=true"
            )


def _refuse_files(section: Section) -> None:
    for key in FILES:
        if section.get(key):
            raise Rejected(f"the kubeconfig's `{key}` names a file; put the data into the kubeconfig itself")


def _named(config: Section, plural: str, singular: str, name: str) -> Section:
    entries = config.get(plural)
    for entry in entries if isinstance(entries, list) else ():
        if isinstance(entry, dict) and entry.get("name") == name:
            return _mapping(entry.get(singular) or {}, f"{singular} {name!r}")
    raise Rejected(f"the kubeconfig has no {singular} named {name!r}")


def _mapping(value: object, what: str) -> Section:
    if not isinstance(value, dict):
        raise Rejected(f"{what} must be a mapping, not {type(value).__name__}")
    return cast("Section", value)


def _text(section: Section, key: str) -> str | None:
    value = section.get(key)
    return str(value) if value else None


def _data(section: Section, key: str) -> str | None:
    value = _text(section, key)
    if value is None:
        return None
    try:
        return base64.b64decode("".join(value.split()), validate=True).decode("ascii")
    except (binascii.Error, UnicodeDecodeError) as problem:
        raise Rejected(f"the kubeconfig's `{key}` is not a certificate in base64") from problem


def _client_pem(user: Section) -> str | None:
    certificate, key = _data(user, "client-certificate-data"), _data(user, "client-key-data")
    if (certificate is None) != (key is None):
        raise Rejected(
            "the kubeconfig's user has a client certificate without its key, or the other way round"
        )
    return f"{certificate}\n{key}" if certificate else None


def _authorization(user: Section) -> str | None:
    token, name = _text(user, "token"), _text(user, "username")
    if token is not None:
        return f"Bearer {token}"
    if name is not None:
        pair = f"{name}:{user.get('password', '')}"
        return f"Basic {base64.b64encode(pair.encode()).decode()}"
    return None
