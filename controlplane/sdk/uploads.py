"""Uploads: folders that the server keeps by content."""

import os
import tempfile
from pathlib import Path

from controlplane.sdk import archive
from controlplane.sdk.transport import Transport
from controlplane.wire.jobs import UploadDocument


class Uploads:
    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def put(self, folder: str | os.PathLike[str]) -> str:
        """Makes sure that the server holds this folder; returns the digest to be used as `working_dir`.

        Sends nothing when the server has it. Raises `BadFolder` before anything is sent.
        """
        with tempfile.TemporaryFile() as file:
            digest = archive.pack(Path(folder), file)
            if not self._transport.exists(f"/v1/uploads/{digest}"):
                answer = self._transport.post("/v1/uploads", file, media_type="application/zip")
                digest = UploadDocument.model_validate_json(answer.content).digest
        return digest
