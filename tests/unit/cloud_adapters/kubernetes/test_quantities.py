"""Quantities are read exactly: what a node has is rounded down, and what a pod holds is rounded up."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud_adapters.base import Rejected
from cloud_adapters.kubernetes.quantities import milli_had, milli_held, milli_text, value_of


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0),
        ("100m", Decimal("0.1")),
        ("1.5Gi", 1.5 * 2**30),
        ("2Ki", 2048),
        ("1e3", 1000),
        ("12E", 12 * 10**18),
        ("1E2", 100),
        (".5", Decimal("0.5")),
        ("100n", Decimal("1E-7")),
        ("+3", 3),
    ],
)
def test_every_way_to_write_a_quantity_is_read(text: str, value: object) -> None:
    assert value_of(text) == value


@pytest.mark.parametrize("text", ["", "m", "1.2.3", "1 Gi", "0x10", "1KiB", "one", "1e9999"])
def test_what_is_no_quantity_is_rejected_by_its_text(text: str) -> None:
    with pytest.raises(Rejected, match="is not a Kubernetes quantity"):
        value_of(text)


def test_a_node_never_looks_larger_and_a_pod_never_smaller_than_it_is() -> None:
    assert (milli_had("1500500u"), milli_held("1500500u")) == (1500, 1501)


@given(st.integers(min_value=0, max_value=2**53))
def test_what_is_written_is_read_again(milli: int) -> None:
    assert milli_had(milli_text(milli)) == milli_held(milli_text(milli)) == milli
