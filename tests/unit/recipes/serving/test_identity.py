"""Off loopback a replica shows a certificate, and who pins its authority and its name reaches it by both protocols."""

import asyncio
import ssl
from datetime import timedelta
from pathlib import Path
from typing import Final

import grpc
import pytest
from aiohttp import ClientConnectorCertificateError, ClientSession

from controlplane.operations.service_specs import SERVER_NAME
from controlplane.recipes.serving.inference_messages import SERVICE, message
from controlplane.recipes.serving.surroundings import Identity, Surroundings
from controlplane.secrets.certificates import ClaimAuthority, claim_authority
from tests.factories import NOON
from tests.unit.recipes.serving.test_server import KEY, Caller, served

pytestmark = pytest.mark.sockets

YEARS: Final = timedelta(days=20 * 365)


class Far(Surroundings):
    """Says of an address that tests may dial that it is another machine's."""

    __slots__ = ()

    @property
    def is_local(self) -> bool:
        return False


def authority() -> ClaimAuthority:
    return claim_authority(SERVER_NAME, now=NOON, validity=YEARS)


def identity(of: ClaimAuthority) -> Identity:
    return Identity(certificate=of.certificate_pem, key=of.key_pem)


def test_who_pins_the_authority_reaches_it_and_who_pins_another_does_not(tmp_path: Path) -> None:
    own, other = authority(), authority()

    async def use(caller: Caller) -> None:
        pinned, wrong = (ssl.create_default_context(cadata=each.ca_pem) for each in (own, other))
        assert await caller.post("/invoke", 1, ssl=pinned, server_hostname=SERVER_NAME) == (
            200,
            '{"said": 1}',
        )
        with pytest.raises(ClientConnectorCertificateError):
            await caller.post("/invoke", 1, ssl=wrong, server_hostname=SERVER_NAME)
        async with ClientSession() as stranger:
            with pytest.raises(ClientConnectorCertificateError):
                await stranger.get(caller.said["url"])
        assert await is_ready(caller.said["grpc"], own.ca_pem)

    first, _ = served(tmp_path, use, kind=Far, identity=identity(own))
    assert first["url"].startswith("https://127.0.0.1:")


def test_it_does_not_serve_off_loopback_without_a_certificate(tmp_path: Path) -> None:
    async def use(_caller: Caller) -> None:
        raise AssertionError

    with pytest.raises(RuntimeError, match="there is no certificate for it"):
        served(tmp_path, use, kind=Far)


async def is_ready(address: str, ca_pem: str) -> bool:
    credentials = grpc.ssl_channel_credentials(ca_pem.encode())
    options = [("grpc.ssl_target_name_override", SERVER_NAME)]
    async with grpc.aio.secure_channel(address, credentials, options) as channel:
        ready = channel.unary_unary(
            f"/{SERVICE}/ServerReady",
            request_serializer=message("ServerReadyRequest").SerializeToString,
            response_deserializer=message("ServerReadyResponse").FromString,
        )
        metadata = (("authorization", f"Bearer {KEY}"),)
        answer = await asyncio.wait_for(ready(message("ServerReadyRequest")(), metadata=metadata), 10)
        return bool(answer.ready)
