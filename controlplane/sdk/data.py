"""Data: the object stores that the control plane may use, what is in them, and copies between them."""

import json
import time
from collections.abc import Iterator, Sequence
from typing import Final

from pydantic import ValidationError

from controlplane.sdk.bodies import body
from controlplane.sdk.errors import invalid_here
from controlplane.sdk.transport import Transport, parse
from controlplane.wire.base import Page
from controlplane.wire.data import (
    CheckedDocument,
    CopyCreate,
    CopyDocument,
    ObjectDocument,
    StoreCreate,
    StoreDocument,
)

OVER: Final = frozenset({"done", "failed", "cancelled"})
LOOK_EVERY_SECONDS: Final = 0.5


class Stores:
    """Changing them needs an admin token of all projects."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def add(
        self,
        name: str,
        uri: str,
        *,
        region: str = "",
        endpoint: str | None = None,
        access_key_id: str | None = None,
        secret: str | None = None,
        near: Sequence[str] = (),
    ) -> StoreDocument:
        """Lets the server read and write what is below `uri`: `s3://bucket`, `oss://bucket/prefix`, `file:///folder`.

        Without `endpoint` it is the cloud's own for the region, without a key what the server's machine offers. The
        secret is stored encrypted and never shown again. Jobs on the clusters in `near` keep their checkpoints here.
        """
        given = {
            "name": name,
            "uri": uri,
            "region": region,
            "endpoint": endpoint,
            "access_key_id": access_key_id,
            "secret": secret,
            "near": list(near),
        }
        try:
            StoreCreate.model_validate(given)
        except ValidationError as error:
            raise invalid_here(error) from error
        # Not the model's own JSON: that hides the secret.
        return parse(StoreDocument, self._transport.post("/v1/stores", json.dumps(given)))

    def list(self) -> Iterator[StoreDocument]:
        return self._transport.items("/v1/stores", Page[StoreDocument])

    def remove(self, name: str) -> StoreDocument:
        """The server forgets it, with its secret. What is in the bucket stays there."""
        return parse(StoreDocument, self._transport.post(f"/v1/stores/{name}/remove"))


class Data:
    """URIs are `s3://bucket/key`, `oss://bucket/key` or `file:///path`, below a registered store."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def copy(
        self,
        source: str,
        target: str,
        *,
        project: str = "default",
        bytes_per_second: int | None = None,
        rereads: bool = False,
    ) -> CopyDocument:
        """Asks for a copy, of one object or of all below a prefix that ends with `/`. The server makes it.

        Each object appears at the target at once and whole, or not at all. With `rereads` it is read back there and
        compared part by part.
        """
        wanted = body(
            CopyCreate,
            project=project,
            source=source,
            target=target,
            bytes_per_second=bytes_per_second,
            rereads=rereads,
        )
        return parse(CopyDocument, self._transport.post("/v1/copies", wanted))

    def get(self, copy_id: str) -> CopyDocument:
        return parse(CopyDocument, self._transport.get(f"/v1/copies/{copy_id}"))

    def list(self) -> Iterator[CopyDocument]:
        """Newest first."""
        return self._transport.items("/v1/copies", Page[CopyDocument])

    def watch(self, copy_id: str) -> Iterator[CopyDocument]:
        """How far it is, again and again, until it is over; the last one says how it ended."""
        while True:
            found = self.get(copy_id)
            yield found
            if found.state in OVER:
                return
            time.sleep(LOOK_EVERY_SECONDS)

    def cancel(self, copy_id: str) -> CopyDocument:
        """Objects that are whole stay; the upload under way is aborted."""
        return parse(CopyDocument, self._transport.post(f"/v1/copies/{copy_id}/cancel"))

    def verify(self, copy_id: str) -> Iterator[CheckedDocument]:
        """Each object of a copy, and whether the target still holds what was copied."""
        return self._transport.items(f"/v1/copies/{copy_id}/check", Page[CheckedDocument])

    def ls(self, uri: str) -> Iterator[ObjectDocument]:
        """Objects below a prefix, by key."""
        return self._transport.items("/v1/data/ls", Page[ObjectDocument], params={"uri": uri})
