"""Copies that were over for long are forgotten, but for those that somebody may still need."""

from typing import Final

import pytest

from controlplane.domain.data_copies import CopyState
from controlplane.domain.errors import NotFound, Transient
from controlplane.domain.jobs import JobState
from controlplane.operations import old_copies
from controlplane.storage.testing import pattern
from controlplane.store import CheckpointRow
from tests.unit.runtime.copy_site import PART, Site, site

__all__ = ["site"]

DAY: Final = 86_400.0


def test_an_old_copy_is_forgotten_with_its_manifest_and_what_it_brought_stays(site: Site) -> None:
    site.source.objects.update({"a/1": pattern(PART + 1), "a/2": b"x"})
    copy = site.request("s3://from/a/", "s3://into/c/")
    site.run(copy)
    held = site.request("s3://from/absent", "s3://into/d")  # under way, however old
    site.plane.clock.pass_seconds(89 * DAY)
    assert (forget(site), site.view(copy).copy.id) == (None, copy.id)

    site.plane.clock.pass_seconds(2 * DAY)
    site.target.goes_wrong, site.target.wrong_call = Transient, len(site.target.calls)
    assert (forget(site), site.view(copy).copy.id) == (None, copy.id)  # nobody would know of the manifest
    assert forget(site) is None
    with pytest.raises(NotFound):
        site.view(copy)
    assert sorted(site.target.inner.objects) == ["c/1", "c/2"]
    assert site.view(held).copy.state is CopyState.PENDING


def test_the_copy_of_a_checkpoint_stays_while_its_job_may_resume_from_it(site: Site) -> None:
    site.source.objects["run/7"] = pattern(PART)
    copy = site.request("s3://from/run/7", "s3://into/run/7")
    site.run(copy)
    attempt = site.plane.running()
    row = CheckpointRow(
        attempt_id=attempt.id,
        job_id=attempt.job_id,
        rank=0,
        seq=1,
        step=7,
        uri=copy.source,
        sha256=None,
        at=site.plane.clock.at,
    )
    site.plane.store.write(lambda tx: tx.records.add_checkpoint(row))
    site.plane.clock.pass_seconds(91 * DAY)
    forget(site)
    assert site.view(copy).copy.state is CopyState.DONE
    site.plane.end(attempt)
    site.plane.finish(attempt.job_id, JobState.SUCCEEDED)
    forget(site)
    with pytest.raises(NotFound):
        site.view(copy)


def forget(site: Site) -> str | None:
    store = site.plane.store
    lease = store.write(lambda tx: tx.leases.take("retention", f"{site.plane.clock.at}", 60))
    assert lease is not None
    last = old_copies.prune(site.plane.context, lease, "")
    store.write(lambda tx: tx.leases.release(lease))
    return last
