"""Uploads: a folder is sent once, and arrives whole whatever the network does."""

import io
import os
import zipfile
from pathlib import Path

import pytest

from controlplane.sdk import BadFolder, Client
from tests.unit.sdk.plane import Plane, Vice

pytestmark = pytest.mark.sockets

SPEC = {"name": "train", "entrypoint": "python train.py"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "train.py").write_text("print('hello')\n")
    (tmp_path / "weights").write_bytes(os.urandom(200_000))
    return tmp_path


def test_a_working_dir_is_uploaded_and_named_in_the_spec(client: Client, plane: Plane, folder: Path) -> None:
    job = client.jobs.submit(SPEC, working_dir=folder)
    (digest,) = plane.uploads
    assert job.document.spec == {**SPEC, "working_dir": digest}
    with zipfile.ZipFile(io.BytesIO(plane.uploads[digest])) as archive:
        assert archive.read("train.py") == b"print('hello')\n"


def test_the_same_folder_is_uploaded_once(client: Client, plane: Plane, folder: Path) -> None:
    client.jobs.submit(SPEC, working_dir=folder)
    client.jobs.submit(SPEC, working_dir=folder)
    assert plane.paths("POST") == ["/v1/uploads", "/v1/jobs", "/v1/jobs"]


@pytest.mark.parametrize("vice", Vice)
def test_an_upload_that_fails_on_the_way_is_sent_whole_again(
    client: Client, plane: Plane, folder: Path, vice: Vice
) -> None:
    plane.vices.extend([vice, vice, vice])  # for the question, then for the upload
    digest = client.uploads.put(folder)
    assert list(plane.uploads) == [digest]


def test_a_folder_that_cannot_be_shipped_sends_nothing(client: Client, plane: Plane, folder: Path) -> None:
    (folder / "link").symlink_to("/etc/hostname")
    with pytest.raises(BadFolder):
        client.jobs.submit(SPEC, working_dir=folder)
    assert plane.seen == []


def test_a_batch_uploads_its_folder_once_and_keeps_what_specs_name(
    client: Client, plane: Plane, folder: Path
) -> None:
    own = "sha256:" + "0" * 64
    jobs = client.jobs.submit_many([SPEC, {**SPEC, "working_dir": own}, SPEC], working_dir=folder)
    (digest,) = plane.uploads
    assert [job.document.spec["working_dir"] for job in jobs] == [digest, own, digest]
