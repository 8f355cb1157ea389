"""Which store takes the place of which, where several are registered."""

from datetime import UTC, datetime

import pytest

from controlplane.domain.data_copies import RegisteredStore
from controlplane.domain.ids import ProjectId
from controlplane.domain.residency import Residency, Rules
from controlplane.operations.nearness import near

PROJECT = ProjectId("project-1")


def store(name: str, uri: str, *clusters: str) -> RegisteredStore:
    return RegisteredStore(
        name=name, uri=uri, region="", created_at=datetime(2026, 1, 1, tzinfo=UTC), near=clusters
    )


STORES = (
    store("east", "s3://data/", "aws"),
    store("team", "s3://data/team-a"),
    store("beijing", "oss://kept/runs", "beijing", "shanghai"),
)


@pytest.mark.parametrize(
    ("cluster", "uri", "found"),
    [
        ("beijing", "s3://data/run/7/state.pt", "oss://kept/runs/run/7/state.pt"),
        ("shanghai", "s3://data/run/", "oss://kept/runs/run/"),
        ("beijing", "s3://data/team-a/7", "oss://kept/runs/7"),
        ("aws", "oss://kept/runs/run/7/state.pt", "s3://data/run/7/state.pt"),
        ("aws", "s3://data/run/7", "s3://data/run/7"),
        ("elsewhere", "s3://data/run/7", "s3://data/run/7"),
        ("beijing", "s3://unknown/run/7", "s3://unknown/run/7"),
        ("beijing", "hdfs://namenode/run/7", "hdfs://namenode/run/7"),
    ],
)
def test_the_same_key_is_taken_in_the_store_near_the_cluster(cluster: str, uri: str, found: str) -> None:
    assert near(STORES, Rules(), PROJECT, cluster, uri) == found


@pytest.mark.parametrize(
    ("rules", "found"),
    [
        (Rules(projects={PROJECT: Residency(providers=("alibaba",))}), "oss://kept/runs/run/7"),
        (Rules(projects={PROJECT: Residency(providers=("aws",))}), "s3://data/run/7"),
        (Rules(data={"east": Residency(regions=("us-east-1",))}), "s3://data/run/7"),
        (Rules(data={"team": Residency(regions=("us-east-1",))}), "oss://kept/runs/run/7"),
    ],
)
def test_a_store_that_may_not_hold_the_data_takes_the_place_of_none(rules: Rules, found: str) -> None:
    assert near(STORES, rules, PROJECT, "beijing", "s3://data/run/7") == found
