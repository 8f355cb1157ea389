"""The copy loop: killed at any call it resumes, and what is at the target is the source, whole, or nothing."""

import io
import json
from typing import Any

import pytest

from controlplane.domain.data_copies import Copy, CopyState
from controlplane.domain.errors import Ambiguous, AuthFailed, Transient
from controlplane.operations import copies
from controlplane.operations.object_stores import located
from controlplane.runtime.copying import Way, bring
from controlplane.storage.fake import FakeStore
from controlplane.storage.pace import Pace
from controlplane.storage.testing import pattern
from controlplane.storage.uris import parse
from tests.inline_pool import InlinePool
from tests.unit.runtime.copy_site import PART, Crash, Fields, Instead, Site, open_uploads, site

__all__ = ["site"]


def test_an_object_arrives_byte_for_byte(site: Site) -> None:
    site.source.objects["a/model"] = pattern(4 * PART + 7)
    copy = site.request("s3://from/a/model", "s3://into/b/model")

    done = site.run(copy)

    view = site.view(copy)
    assert (done.state, done.problem) == (CopyState.DONE, None)
    assert site.target.inner.objects == {"b/model": pattern(4 * PART + 7)}
    assert (view.progress.objects, view.progress.size_bytes, view.progress.known_bytes) == (1, 4007, 4007)
    assert open_uploads(site) == []


@pytest.mark.parametrize("is_before", [True, False])
@pytest.mark.parametrize("kind", ["crash", "lost"])
def test_whatever_call_goes_wrong_it_ends_whole_and_leaves_no_upload(
    site: Site, kind: str, *, is_before: bool
) -> None:
    """Every call of a copy of three objects in turn, until there is no such call."""
    whole = {"a/1": pattern(2 * PART), "a/2": pattern(PART + 1), "a/empty": b""}
    site.source.objects.update(whole)
    number = 0
    while True:
        site.target.inner.objects.clear()
        site.target.calls.clear()
        site.target.wrong_call, site.target.is_before = number, is_before
        site.target.goes_wrong = (lambda _: Crash()) if kind == "crash" else _lost
        copy = site.request("s3://from/a/", f"s3://into/{number}/")

        done = site.run(copy)

        assert (done.state, done.problem) == (CopyState.DONE, None), number
        found = {key: data for key, data in site.target.inner.objects.items() if "manifest" not in key}
        assert found == {f"{number}/{key.removeprefix('a/')}": data for key, data in whole.items()}, number
        assert open_uploads(site) == [], number
        if len(site.target.calls) <= number:
            break
        number += 1
    assert number > 10


def _lost(name: str) -> BaseException:
    return Ambiguous("no answer") if name == "complete_parts" else Transient("no answer")


def test_parts_that_arrived_are_not_sent_again(site: Site) -> None:
    site.source.objects["model"] = pattern(8 * PART)
    site.target.wrong_call = 2 + 6  # list_uploads, begin_parts, list_parts, then parts
    copy = site.request("s3://from/model", "s3://into/model")

    site.run(copy)

    assert 8 <= site.target.calls.count("put_part") <= 8 + 4
    assert site.target.inner.objects["model"] == pattern(8 * PART)


def test_a_source_that_changes_meanwhile_is_never_mixed(site: Site) -> None:
    site.source.objects["model"] = pattern(6 * PART)
    copy = site.request("s3://from/model", "s3://into/model")
    inner = site.target.inner.put_part

    def change_then_put(*args: Fields) -> object:
        site.source.objects["model"] = b"another" * PART
        return inner(*args)

    site.target.inner = _with(site.target.inner, put_part=change_then_put)

    failed = site.run(copy)

    assert failed.state is CopyState.FAILED
    assert "no longer" in (failed.problem or "")
    assert (site.target.inner.objects, open_uploads(site)) == ({}, [])


def _with(store: FakeStore, **changed: Fields) -> Any:  # noqa: ANN401 - stands for a store
    return Instead(store, changed)


def test_a_part_that_rots_at_the_target_is_sent_again(site: Site) -> None:
    site.source.objects["model"] = pattern(3 * PART)
    site.target.inner.flipped_parts = 2
    copy = site.request("s3://from/model", "s3://into/model")

    assert site.run(copy).state is CopyState.DONE
    assert site.target.inner.objects["model"] == pattern(3 * PART)


def test_an_upload_that_somebody_aborted_is_begun_anew(site: Site) -> None:
    site.source.objects["model"] = pattern(5 * PART)
    site.target.wrong_call = 6
    copy = site.request("s3://from/model", "s3://into/model")
    with pytest.raises(Crash):
        site.loop.drain(InlinePool())
    for upload in list(site.target.inner.list_uploads("")):
        site.target.inner.abort_parts(upload.key, upload.upload_id)
    site.restart()
    site.plane.clock.pass_seconds(130)

    assert site.run(copy).state is CopyState.DONE
    assert site.target.inner.objects["model"] == pattern(5 * PART)


def test_refused_credentials_end_the_copy_with_a_sentence(site: Site) -> None:
    site.source.objects["model"] = pattern(PART)
    site.target.wrong_call, site.target.goes_wrong = 0, lambda _: AuthFailed("into/model: AccessDenied")
    copy = site.request("s3://from/model", "s3://into/model")

    failed = site.run(copy)

    assert (failed.state, failed.problem) == (CopyState.FAILED, "into/model: AccessDenied")


def test_an_absent_source_fails(site: Site) -> None:
    copy = site.request("s3://from/absent", "s3://into/model")
    assert site.run(copy).state is CopyState.FAILED


def test_a_cancelled_copy_leaves_no_upload(site: Site) -> None:
    site.source.objects["model"] = pattern(5 * PART)
    site.target.wrong_call = 6
    copy = site.request("s3://from/model", "s3://into/model")
    with pytest.raises(Crash):
        site.loop.drain(InlinePool())
    copies.cancel(site.plane.context, site.plane.root, copy.id)
    site.restart()
    site.plane.clock.pass_seconds(130)

    assert site.run(copy).state is CopyState.CANCELLED
    assert (site.target.inner.objects, open_uploads(site)) == ({}, [])


def test_the_manifest_names_what_was_copied(site: Site) -> None:
    site.source.objects.update({"a/1": pattern(PART + 1), "a/2": b"x", "b/1": b"not this"})
    copy = site.request("s3://from/a/", "s3://into/c/")
    site.run(copy)

    manifest = json.loads(site.target.inner.objects[f"c/{copy.id}.manifest.json"])
    assert [(each["key"], each["size_bytes"]) for each in manifest["objects"]] == [("c/1", 1001), ("c/2", 1)]
    assert [len(each["sha256_of_parts"]) for each in manifest["objects"]] == [2, 1]
    assert sorted(site.target.inner.objects) == ["c/1", "c/2", f"c/{copy.id}.manifest.json"]


def test_what_reads_back_differently_is_taken_away(site: Site) -> None:
    site.source.objects["model"] = pattern(3 * PART)
    copy = site.request("s3://from/model", "s3://into/model", rereads=True)

    def other(*args: Fields, **fields: Fields) -> io.BytesIO:
        del args, fields
        return io.BytesIO(b"something else")

    site.target.inner = _with(site.target.inner, read=other)

    assert site.run(copy).state is CopyState.FAILED
    assert site.target.inner.objects == {}


def hurried(site: Site, copy: Copy) -> Way:
    """Its time is over after some parts."""
    looks = iter(range(12))
    with site.plane.store.read() as tx:
        source, target = (located(site.plane.context, tx, parse(uri)) for uri in (copy.source, copy.target))
    return Way(
        store=site.plane.store,
        copy=copy,
        source=source,
        target=target,
        part_bytes=PART,
        pace=Pace(None, clock=float, sleep=lambda _: None),
        goes_on=lambda: next(looks, None) is not None,
    )


def test_two_copies_that_reach_one_key_leave_each_others_uploads_alone(site: Site) -> None:
    site.source.objects["a/big"] = site.source.objects["c/big"] = pattern(20 * PART)
    folder = site.request("s3://from/a/", "s3://into/x/")
    single = site.request("s3://from/c/big", "s3://into/x/big")
    ended = [[bring(hurried(site, copy)) for copy in (folder, single)] for _ in range(8)]
    assert (ended[0], ended[-1]) == ([False, False], [True, True])
    assert "abort_parts" not in site.target.calls
    assert site.target.inner.objects["x/big"] == pattern(20 * PART)
