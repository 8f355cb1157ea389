"""Folders as archives: the same files, the same bytes; nothing that must not travel."""

import io
import os
import socket
import zipfile
from pathlib import Path

import pytest

from controlplane.sdk import BadFolder
from controlplane.sdk import archive as archives


def test_the_same_files_give_the_same_digest_wherever_and_whenever_they_lie(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for folder, names in ((first, ("b.py", "a.py")), (second, ("a.py", "b.py"))):
        (folder / "package").mkdir(parents=True)
        for name in names:
            (folder / "package" / name).write_text(name)
        os.utime(folder / "package" / "a.py", (0, len(str(folder))))
    assert archives.pack(first, io.BytesIO()) == archives.pack(second, io.BytesIO())


def test_one_changed_byte_gives_another_digest(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("1")
    before = archives.pack(tmp_path, io.BytesIO())
    (tmp_path / "a.py").write_text("2")
    assert archives.pack(tmp_path, io.BytesIO()) != before


def test_contents_and_the_executable_bit_survive(tmp_path: Path) -> None:
    (tmp_path / "run.sh").write_text("#!/bin/sh\n")
    (tmp_path / "run.sh").chmod(0o700)
    (tmp_path / "data.bin").write_bytes(bytes(range(256)))
    packed = io.BytesIO()
    archives.pack(tmp_path, packed)
    with zipfile.ZipFile(packed) as archive:
        assert [(each.filename, each.external_attr >> 16) for each in archive.infolist()] == [
            ("data.bin", 0o100644),
            ("run.sh", 0o100755),
        ]
        assert archive.read("data.bin") == bytes(range(256))


def test_what_never_matters_and_what_is_ignored_stays_at_home(tmp_path: Path) -> None:
    for name in (
        ".git/config",
        ".venv/bin/python",
        "src/__pycache__/a.pyc",
        "src/a.py",
        "src/a.log",
        "data/big.bin",
        "src/data/also.bin",
        "out/keep.txt",
        "out/drop.bin",
        "top.txt",
        "src/top.txt",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    (tmp_path / ".crossdockignore").write_text("# built\n*.log\ndata/\n\nout/*.bin\n/top.txt\n")
    assert [entry.name for entry in archives.entries(tmp_path)] == [
        ".crossdockignore",
        "out/keep.txt",
        "src/a.py",
        "src/top.txt",
    ]


def test_links_inside_the_folder_travel_as_what_they_point_to(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a.txt").write_text("a")
    (tmp_path / "file").symlink_to("real/a.txt")
    (tmp_path / "folder").symlink_to("real")
    assert [entry.name for entry in archives.entries(tmp_path)] == ["file", "folder/a.txt", "real/a.txt"]


def test_a_link_that_leaves_the_folder_is_refused(tmp_path: Path) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    (tmp_path / "secret").write_text("x")
    (inside / "link").symlink_to("../secret")
    with pytest.raises(BadFolder, match="link that leaves the folder"):
        archives.entries(inside)


def test_an_ignored_link_may_lead_anywhere(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/etc/hostname")
    (tmp_path / ".crossdockignore").write_text("link\n")
    assert [entry.name for entry in archives.entries(tmp_path)] == [".crossdockignore"]


@pytest.mark.parametrize("target", ["nowhere", "link"])
def test_a_link_that_leads_nowhere_is_refused(tmp_path: Path, target: str) -> None:
    (tmp_path / "link").symlink_to(target)
    with pytest.raises(BadFolder, match="leads nowhere"):
        archives.entries(tmp_path)


def test_a_link_to_a_folder_that_holds_it_is_refused(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "up").symlink_to("..")
    with pytest.raises(BadFolder, match="which holds it"):
        archives.entries(tmp_path)


def test_a_socket_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # a socket's path must be short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
        with pytest.raises(BadFolder, match="neither file nor folder"):
            archives.entries(tmp_path)


def test_a_name_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"caf\xe9")).write_text("x")
    with pytest.raises(BadFolder, match="not UTF-8"):
        archives.entries(tmp_path)


def test_a_folder_over_the_limit_is_refused(tmp_path: Path) -> None:
    (tmp_path / "noise").write_bytes(os.urandom(5000))
    with pytest.raises(BadFolder, match="more than 4000 bytes when zipped"):
        archives.pack(tmp_path, io.BytesIO(), limit_bytes=4000)


def test_a_folder_that_is_far_too_large_is_refused_by_its_largest_file(tmp_path: Path) -> None:
    with (tmp_path / "huge").open("wb") as file:
        file.truncate(archives.MAX_UNPACKED_BYTES + 1)  # a hole: takes no room
    with pytest.raises(BadFolder, match="the largest file is huge"):
        archives.pack(tmp_path, io.BytesIO())


def test_what_is_no_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadFolder, match="is not a folder"):
        archives.pack(tmp_path / "missing", io.BytesIO())


def test_a_pattern_that_takes_back_in_is_refused(tmp_path: Path) -> None:
    (tmp_path / ".crossdockignore").write_text("*.bin\n!keep.bin\n")
    with pytest.raises(BadFolder, match="not supported"):
        archives.entries(tmp_path)
