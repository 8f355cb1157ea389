"""Settings of an Alibaba account: what is allowed, and what a refusal says."""

import json
from decimal import Decimal

import pytest

from cloud_adapters.alibaba.settings import Access, Keys, Settings, settings_of
from cloud_adapters.base import ClusterRef, Rejected

LEAST = {
    "region": "cn-beijing",
    "vswitches": "cn-beijing-i=vsw-2, cn-beijing-h=vsw-1",
    "security_group_id": "sg-1",
    "image_id": "m-1",
}
SECRET = {"access_key_id": "id-1", "access_key_secret": "secret-1"}


def cluster(secret: object = None, **settings: str) -> ClusterRef:
    return ClusterRef(
        id="c",
        name="beijing",
        endpoint=None,
        settings=tuple(sorted({**LEAST, **settings}.items())),
        secret=secret if isinstance(secret, str | None) else json.dumps(secret),
    )


def test_four_settings_are_enough() -> None:
    assert settings_of(cluster()) == Settings(
        access=Access(region="cn-beijing", keys=None),
        vswitches=(("cn-beijing-h", "vsw-1"), ("cn-beijing-i", "vsw-2")),
        security_group_id="sg-1",
        image_id="m-1",
    )


def test_all_else_can_be_set() -> None:
    settings = settings_of(
        cluster(
            {**SECRET, "security_token": "token-1"},
            machine_types="ecs.gn7i-c8g1.2xlarge, ecs.ebmgn7e.32xlarge",
            ram_role_name="crossdock-node",
            spot_price_limit="12.50",
            disk_gib="200",
            disk_category="cloud_auto",
            deployment_set_id="ds-1",
            hpc_cluster_id="hpc-1",
            private_pool_id="eap-1",
            endpoint="127.0.0.1:8080",
        )
    )
    keys = Keys(access_key_id="id-1", access_key_secret="secret-1", security_token="token-1")
    assert settings == Settings(
        access=Access(region="cn-beijing", keys=keys, endpoint="127.0.0.1:8080"),
        vswitches=(("cn-beijing-h", "vsw-1"), ("cn-beijing-i", "vsw-2")),
        security_group_id="sg-1",
        image_id="m-1",
        machine_types=("ecs.ebmgn7e.32xlarge", "ecs.gn7i-c8g1.2xlarge"),
        ram_role_name="crossdock-node",
        spot_price_limit=Decimal("12.50"),
        disk_gib=200,
        disk_category="cloud_auto",
        deployment_set_id="ds-1",
        hpc_cluster_id="hpc-1",
        private_pool_id="eap-1",
    )


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("region", "Beijing", "a region such as cn-beijing"),
        ("region", "cn-beijing/../x", "a region such as cn-beijing"),
        ("vswitches", "cn-beijing-h", "zone=vSwitch pairs"),
        ("vswitches", "cn-beijing-h=a,cn-beijing-h=b", "zone=vSwitch pairs, each zone once"),
        ("vswitches", "", "zone=vSwitch pairs"),
        ("security_group_id", "sg 1", "an id or a name"),
        ("machine_types", "p5.48xlarge", "machine types such as ecs."),
        ("spot_price_limit", "0", "a price above 0"),
        ("spot_price_limit", "NaN", "a price above 0"),
        ("spot_price_limit", "cheap", "a price above 0"),
        ("disk_gib", "19", "a whole number from 20 to 2048"),
        ("disk_gib", "²", "a whole number from 20 to 2048"),
        ("endpoint", "ecs.example.com:80", "host:port on loopback"),
        ("endpoint", "127.0.0.1", "host:port on loopback"),
        ("endpoint", "127.0.0.1.example.com:80", "host:port on loopback"),
        ("endpoint", "127.0.0.1:port", "host:port on loopback"),
        ("endpoint", "user@127.0.0.1:80/path", "host:port on loopback"),
    ],
)
def test_a_bad_value_is_refused_with_name_and_value(name: str, value: str, words: str) -> None:
    with pytest.raises(Rejected) as refused:
        settings_of(cluster(**{name: value}))
    assert refused.value.message.startswith(f"setting {name} must be {words}")
    assert refused.value.message.endswith(f"not {value!r}")


def test_settings_that_are_missing_or_unknown_are_named() -> None:
    lacking = ClusterRef(id="c", name="beijing", endpoint=None, settings=(("region", "cn-beijing"),))
    with pytest.raises(Rejected, match="lacks the settings image_id, security_group_id, vswitches"):
        settings_of(lacking)
    with pytest.raises(Rejected, match="has unknown settings: colour"):
        settings_of(cluster(colour="blue"))


@pytest.mark.parametrize(
    "secret",
    [
        "secret-1",
        {"access_key_id": "id-1"},
        {**SECRET, "other": "secret-1"},
        {"access_key_id": "id-1", "access_key_secret": ""},
        {"access_key_id": "id-1", "access_key_secret": 7},
        ["secret-1"],
    ],
)
def test_a_secret_of_another_shape_is_refused_without_a_word_of_it(secret: object) -> None:
    with pytest.raises(Rejected, match="must be a JSON object with access_key_id") as refused:
        settings_of(cluster(secret if isinstance(secret, str) else json.dumps(secret)))
    assert "secret-1" not in refused.value.message
    assert "id-1" not in refused.value.message


def test_what_is_printed_of_settings_shows_no_secret() -> None:
    printed = repr(settings_of(cluster({**SECRET, "security_token": "token-1"})))
    assert "secret-1" not in printed
    assert "token-1" not in printed
