"""Orders outlive the process that made them: what is read is what was written."""

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud_adapters.base import Amounts, CapacityType, ClusterRef, LaunchOrder, Rejected, Share
from cloud_adapters.kubernetes.orders import Order, label_value, object_name, order_of
from tests.unit.cloud_adapters.kubernetes.launches import LAUNCH, order

LABEL = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
NAME = re.compile(r"[a-z]([-a-z0-9]{0,38}[a-z0-9])?")


def test_an_order_is_read_as_it_was_written() -> None:
    whole = order_of(LAUNCH, is_kuberay=True, tolerations=[("gpu", "only", "NoSchedule")])
    assert Order.from_json(whole.to_json()) == whole


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"places": []}', '{"places": 1}'])
def test_a_record_that_no_adapter_wrote_is_rejected(text: str) -> None:
    with pytest.raises(Rejected, match="cannot be read"):
        Order.from_json(text)


def test_the_same_is_asked_whatever_the_settings_have_become() -> None:
    other = replace(LAUNCH, cluster=replace(LAUNCH.cluster, settings=(("image", "x"),), secret="new"))
    assert order(LAUNCH).asks_the_same(order(other))


@pytest.mark.parametrize(
    "other",
    [
        replace(LAUNCH, zone="elsewhere"),
        replace(LAUNCH, claim_id="claim_2"),
        replace(LAUNCH, shares=LAUNCH.shares[:1], machines=1),
        replace(LAUNCH, shares=(LAUNCH.shares[1], LAUNCH.shares[0])),
        replace(LAUNCH, cluster=ClusterRef(id="cluster_2", name="x", endpoint=None)),
        replace(LAUNCH, capacity_type=CapacityType.SPOT),
    ],
)
def test_anything_else_is_another_order(other: LaunchOrder) -> None:
    assert not order(LAUNCH).asks_the_same(order(other))


@pytest.mark.parametrize(
    "wrong",
    [
        replace(LAUNCH, machines=3),
        replace(LAUNCH, machines=0, shares=()),
        replace(LAUNCH, shares=(Share(node_name="a", amounts=Amounts(cpu_milli=1)),) * 2),
    ],
)
def test_a_launch_has_one_member_on_each_node(wrong: LaunchOrder) -> None:
    with pytest.raises(Rejected, match="one on each node"):
        order(wrong)


@given(st.text(max_size=200))
def test_every_id_becomes_a_safe_name(text: str) -> None:
    assert NAME.fullmatch(object_name(text))
    assert text == "" or LABEL.fullmatch(label_value(text))


@given(st.lists(st.text(alphabet="aA_-.", min_size=1, max_size=60), min_size=2, max_size=2, unique=True))
def test_two_ids_are_labelled_apart(texts: list[str]) -> None:
    assert label_value(texts[0]) != label_value(texts[1])


def test_an_id_of_ours_stays_readable() -> None:
    assert object_name("claim_01jd3v5x2y-g1-l1") == "claim-01jd3v5x2y-g1-l1"
