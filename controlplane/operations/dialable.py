"""Dialable: which addresses may be registered. Whoever registers a cluster or a store makes this server call it."""

import re
from typing import Final
from urllib.parse import SplitResult, urlsplit

from controlplane.domain.addresses import is_loopback, is_metadata, is_own_machine
from controlplane.domain.errors import Invalid
from controlplane.settings import Settings

HOST: Final = re.compile(r"[A-Za-z0-9._:-]+")
"""Anything else is read differently by different programs."""

MENTIONED: Final = re.compile(r"https?://[^\s,]+", re.IGNORECASE)
PORTS: Final = {"http": 80, "https": 443}


def check_url(settings: Settings, url: str, *, field: str = "url", is_far: bool = False) -> None:
    """Raises `Invalid`. A name that leads to a metadata service is refused when it is dialled.

    `is_far`: an agent dials it at its site, and nothing but what it was told there; loopback is the agent's own.
    """
    parts = _parts(url, field)
    host = parts.hostname or ""
    if is_metadata(host):
        raise Invalid(
            "points at a metadata service; such addresses are never dialled", field=field, value=url
        )
    # A Ray token is full code execution: it never crosses a network in the clear.
    if parts.scheme == "http" and not is_loopback(host):
        raise Invalid("plain http is for loopback only; use https", field=field, value=url, limit="loopback")
    if is_far:
        return
    if _is_this_server(settings, parts):
        raise Invalid("is the address of this server itself", field=field, value=url)
    if is_own_machine(host) and not may_dial_itself(settings):
        raise Invalid(
            "points at the server's own machine, which others would reach through it; "
            "CROSSDOCK_ALLOW_LOOPBACK_CLUSTERS=true permits that",
            field=field,
            value=url,
        )


def check_setting(settings: Settings, name: str, value: str) -> None:
    """Raises `Invalid` where a plugin's option names an address that no cluster may have."""
    for url in MENTIONED.findall(value):
        try:
            host = urlsplit(url).hostname or ""
        except ValueError as error:
            raise Invalid(f"is not an address: {error}", field=f"settings.{name}", value=value) from error
        if is_metadata(host) or (is_own_machine(host) and not may_dial_itself(settings)):
            raise Invalid(
                "names an address of a metadata service or of the server's own machine",
                field=f"settings.{name}",
                value=value,
            )


def may_dial_itself(settings: Settings) -> bool:
    """Whether what a user names may be on the server's own machine."""
    return settings.is_for_this_machine or settings.allow_loopback_clusters


def _parts(url: str, field: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        raise Invalid(f"is not an address: {error}", field=field, value=url) from error
    if not parts.hostname or parts.username is not None or parts.password is not None:
        raise Invalid("needs a host, and no user or password in it", field=field)
    if not HOST.fullmatch(parts.hostname):
        raise Invalid(
            "its host has letters that no host has", field=field, value=url, limit="a-z, 0-9, '.-:_'"
        )
    return parts


def _is_this_server(settings: Settings, parts: SplitResult) -> bool:
    host = parts.hostname or ""
    is_here = is_own_machine(host) or host == settings.host.lower()
    return (is_here and _port(parts) == settings.port) or _place(parts) == _place(urlsplit(settings.url))


def _place(parts: SplitResult) -> tuple[str | None, int | None]:
    return parts.hostname, _port(parts)


def _port(parts: SplitResult) -> int | None:
    return parts.port or PORTS.get(parts.scheme)
