"""Archives: what may be unpacked without harm is kept once, by content; the rest is refused by entry."""

import hashlib
import io
import stat
import zipfile

import pytest

from controlplane.domain.errors import Forbidden, Invalid, NotFound, TooLarge
from controlplane.identity.principals import Role
from controlplane.operations import archives, uploads
from tests.unit.operations.world import World

LIMIT = 10_000


def archive(*entries: tuple[str, bytes], links: tuple[tuple[str, str], ...] = ()) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as made:
        for name, data in entries:
            made.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)
        for name, target in links:
            info = zipfile.ZipInfo(name)
            info.create_system = 3
            info.external_attr = (stat.S_IFLNK | 0o777) << 16
            made.writestr(info, target)
    return file.getvalue()


def accept(plane: World, data: bytes, role: Role = Role.SUBMITTER) -> str:
    who = plane.principal(role, "default")
    sha256 = hashlib.sha256(data).hexdigest()
    row = uploads.accept(plane.context, who, io.BytesIO(data), sha256=sha256, size_bytes=len(data))
    return row.digest


def test_an_archive_is_kept_under_its_digest_and_a_job_may_use_it(plane: World) -> None:
    data = archive(("train.py", b"print(1)"))
    digest = accept(plane, data)
    with plane.context.objects.get(uploads.upload_key(digest)) as kept:
        assert kept.read() == data
    assert uploads.get(plane.context, plane.root, digest).size_bytes == len(data)
    assert plane.submit(working_dir=digest).job.version == 2


def test_sending_it_again_changes_nothing(plane: World) -> None:
    data = archive(("train.py", b"print(1)"))
    assert accept(plane, data) == accept(plane, data)
    assert plane.counts()["uploads"] == 1


def test_what_was_never_sent_is_not_found(plane: World) -> None:
    with pytest.raises(NotFound):
        uploads.get(plane.context, plane.root, f"sha256:{'0' * 64}")


def test_a_viewer_may_not_upload(plane: World) -> None:
    with pytest.raises(Forbidden):
        accept(plane, archive(("a", b"")), Role.VIEWER)


def test_an_archive_over_the_limit_is_refused(plane: World) -> None:
    limit_bytes = plane.context.settings.upload_limit_bytes
    with pytest.raises(TooLarge) as caught:
        uploads.accept(plane.context, plane.root, io.BytesIO(), sha256="0" * 64, size_bytes=limit_bytes + 1)
    assert (caught.value.value, caught.value.limit) == (limit_bytes + 1, limit_bytes)


@pytest.mark.parametrize(
    "name", ["/etc/passwd", "../up", "a/../../up", "a/..", "back\\slash", "C:/x", "n" * 1025]
)
def test_an_entry_that_leaves_the_archive_is_refused_and_nothing_is_kept(plane: World, name: str) -> None:
    before = plane.counts()
    with pytest.raises(Invalid) as caught:
        accept(plane, archive(("fine.py", b""), (name, b"x")))
    assert (caught.value.field, caught.value.value) == ("body", name)
    assert (plane.counts(), list(plane.context.objects.list(""))) == (before, [])


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("link", "/etc/passwd"),
        ("link", ".."),
        ("link", "../up"),
        ("a/link", "../../up"),
        ("a/link", "b/../../../up"),
        ("a/link", "b/.."),
        ("link", "..\\up"),
    ],
)
def test_a_link_that_leaves_the_archive_is_refused(plane: World, name: str, target: str) -> None:
    with pytest.raises(Invalid, match="leaves the archive") as caught:
        accept(plane, archive(links=((name, target),)))
    assert caught.value.value == name


@pytest.mark.parametrize(
    ("name", "target"), [("link", "data/x"), ("a/b/link", "../../data/x"), ("a/link", ".")]
)
def test_a_link_that_stays_inside_is_fine(name: str, target: str) -> None:
    archives.check(io.BytesIO(archive(links=((name, target),))), limit_bytes=LIMIT)


def test_an_entry_behind_a_link_is_refused() -> None:
    file = io.BytesIO(archive(("a/up/x", b""), links=(("a/up", "."),)))
    with pytest.raises(Invalid, match="lies behind a link"):
        archives.check(file, limit_bytes=LIMIT)


def test_a_small_archive_that_unpacks_to_much_is_refused() -> None:
    bomb = archive(("zeros", b"\0" * (LIMIT * 4 + 1)))
    assert len(bomb) < LIMIT
    with pytest.raises(Invalid, match="unpacked") as caught:
        archives.check(io.BytesIO(bomb), limit_bytes=LIMIT)
    assert (caught.value.value, caught.value.limit) == ("zeros", LIMIT * 4)


def test_an_archive_of_too_many_entries_is_refused() -> None:
    entries = [(f"{number:x}", b"") for number in range(501)]
    archives.check(io.BytesIO(archive(*entries)), limit_bytes=LIMIT, max_entries=501)
    with pytest.raises(Invalid, match="501 entries") as caught:
        archives.check(io.BytesIO(archive(*entries)), limit_bytes=LIMIT, max_entries=500)
    assert caught.value.limit == 500


def test_a_list_of_entries_that_would_fill_the_memory_is_not_read() -> None:
    entries = [(f"{number:x}{'n' * 500}", b"") for number in range(500)]
    with pytest.raises(Invalid, match="a list of"):
        archives.check(io.BytesIO(archive(*entries)), limit_bytes=LIMIT, max_entries=501)


@pytest.mark.parametrize("data", [b"", b"not a zip", archive(("a", b"data"))[:-30]])
def test_what_is_no_zip_is_refused(data: bytes) -> None:
    with pytest.raises(Invalid) as caught:
        archives.check(io.BytesIO(data), limit_bytes=LIMIT)
    assert caught.value.field == "body"
