"""Who may ask for which copies, and see them."""

import pytest

from controlplane.domain.errors import Conflict, Forbidden, Invalid, NotFound
from controlplane.identity.principals import Role
from controlplane.operations import copies
from tests.unit.operations.world import other_project
from tests.unit.runtime.copy_site import Site, site

__all__ = ["site"]


@pytest.mark.parametrize(
    ("source", "target", "problem"),
    [
        ("s3://from/a", "s3://elsewhere/b", Forbidden),
        ("s3://elsewhere/a", "s3://into/b", Forbidden),
        ("s3://from/a/", "s3://into/b", Invalid),
        ("s3://from/a", "s3://from/a", Invalid),
        ("s3://from/a/", "s3://from/a/b/", Invalid),
        ("nonsense", "s3://into/b", Invalid),
    ],
)
def test_what_cannot_be_copied_is_refused_at_once(
    site: Site, source: str, target: str, problem: type[Exception]
) -> None:
    with pytest.raises(problem):
        site.request(source, target)


def test_an_unregistered_bucket_is_refused_with_what_to_do(site: Site) -> None:
    with pytest.raises(Forbidden, match="crossdock stores add NAME s3://elsewhere"):
        site.request("s3://from/a", "s3://elsewhere/b")


def test_one_target_takes_one_copy_at_a_time(site: Site) -> None:
    site.request("s3://from/a", "s3://into/b")
    with pytest.raises(Conflict):
        site.request("s3://from/c", "s3://into/b")


def test_another_projects_copy_is_not_there(site: Site) -> None:
    copy = site.request("s3://from/a", "s3://into/b")
    other_project(site.plane)
    stranger = site.plane.principal(Role.SUBMITTER, "other")
    for call in (copies.get, copies.cancel):
        with pytest.raises(NotFound):
            call(site.plane.context, stranger, copy.id)
    assert copies.listed(site.plane.context, stranger, before=None, limit=10) == []


def test_a_viewer_may_look_and_not_copy(site: Site) -> None:
    viewer = site.plane.principal(Role.VIEWER, "default")
    copy = site.request("s3://from/a", "s3://into/b")
    assert copies.get(site.plane.context, viewer, copy.id).copy.id == copy.id
    with pytest.raises(Forbidden):
        copies.cancel(site.plane.context, viewer, copy.id)
