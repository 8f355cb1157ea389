"""Settings of an AWS account: what is allowed, and what a refusal says."""

from decimal import Decimal

import pytest

from cloud_adapters.aws.client import Keys, keys_of
from cloud_adapters.aws.settings import AwsSettings, settings_of
from cloud_adapters.base import ClusterRef, Rejected

SUBNET = "subnet-0123456789abcdef0"
IMAGE = "ami-0123456789abcdef0"
NEEDED = {
    "regions": "us-east-1",
    "subnets": f"us-east-1a={SUBNET}",
    "images": f"us-east-1={IMAGE}",
    "machine_types": "p5.48xlarge,g5.xlarge",
}


def settings(**changes: str) -> AwsSettings:
    given = {name: value for name, value in {**NEEDED, **changes}.items() if value != "-"}
    return settings_of(ClusterRef(id="c", name="burst", endpoint=None, settings=tuple(sorted(given.items()))))


def test_what_is_not_said_has_a_default() -> None:
    assert settings() == AwsSettings(
        regions=("us-east-1",),
        subnets={"us-east-1a": SUBNET},
        images={"us-east-1": IMAGE},
        machine_types=("g5.xlarge", "p5.48xlarge"),
        security_groups={},
        ingress={},
        reservations={},
        spot_max_prices={},
        instance_profile_arn=None,
        disk_gib=100,
        placement_groups=True,
        reserve_cpus=0,
        reserve_memory_mib=0,
        endpoint_url=None,
    )


def test_everything_can_be_said() -> None:
    said = settings(
        regions="us-west-2, us-east-1",
        subnets=f"us-east-1a={SUBNET},us-west-2-lax-1a={SUBNET}",
        images=f"us-east-1={IMAGE},us-west-2={IMAGE}",
        security_groups="us-west-2=sg-0123456789abcdef0",
        ingress="10.0.0.0/8=8443,2001:db8::/32=8443",
        reservations="us-east-1a/p5.48xlarge=cr-0123456789abcdef0",
        spot_max_prices="g5.xlarge=0.60",
        instance_profile_arn="arn:aws:iam::123456789012:instance-profile/crossdock",
        disk_gib="500",
        placement_groups="off",
        reserve_cpus="2",
        reserve_memory_mib="4096",
        endpoint_url="https://ec2.example",
    )
    assert said.regions == ("us-east-1", "us-west-2")
    assert said.region_of("us-west-2-lax-1a") == "us-west-2"
    assert said.region_of("eu-west-1a") is None
    assert said.ingress == {"10.0.0.0/8": 8443, "2001:db8::/32": 8443}
    assert said.spot_max_prices == {"g5.xlarge": Decimal("0.60")}
    assert (said.placement_groups, said.disk_gib, said.reserve_cpus) == (False, 500, 2)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("regions", "-", "needs the settings regions"),
        ("regions", "Virginia", "names of regions with commas between them, not 'Virginia'"),
        ("regions", "us-east-1,us-west-2", "images of cluster burst must be with an image for us-west-2"),
        ("subnets", "us-east-1a:subnet-1", "zone=subnet-id pairs with commas between them"),
        ("subnets", f"us-east-1a={SUBNET},us-east-1a={SUBNET}", "each key once"),
        ("subnets", f"eu-west-1a={SUBNET}", "in one of the regions us-east-1, not 'eu-west-1a'"),
        ("images", "us-east-1=debian", "region=ami-id"),
        (
            "machine_types",
            "g5.xlarge,big one",
            "names of instance types with commas between them, not 'big one'",
        ),
        ("security_groups", "us-east-1=default", "region=sg-id"),
        ("ingress", "10.0.0.1/8=8443", "range=port"),
        ("ingress", "10.0.0.0/8=70000", "range=port"),
        ("reservations", "p5.48xlarge=cr-0123456789abcdef0", "zone/type=cr-id"),
        ("spot_max_prices", "g5.xlarge=cheap", "type=dollars, above zero, not 'g5.xlarge=cheap'"),
        ("spot_max_prices", "g5.xlarge=-1", "above zero"),
        ("spot_max_prices", "g5.xlarge=NaN", "above zero"),
        ("instance_profile_arn", "crossdock", "the ARN of an instance profile, not 'crossdock'"),
        ("disk_gib", "7", "a whole number from 8 to 16384, not '7'"),
        ("disk_gib", "1e3", "a whole number from 8 to 16384"),
        ("placement_groups", "yes", "on or off, not 'yes'"),
        ("reserve_cpus", "65", "a whole number from 0 to 64"),
        ("endpoint_url", "http://ec2.example", "a URL with https, or with http on loopback"),
        ("endpoint_url", "https://", "a URL with https"),
        ("color", "blue", "unknown settings: color"),
    ],
)
def test_what_is_not_allowed_is_refused_with_its_name_value_and_limit(
    name: str, value: str, words: str
) -> None:
    with pytest.raises(Rejected) as refused:
        settings(**{name: value})
    assert words in refused.value.message
    assert "burst" in refused.value.message


def test_the_surroundings_may_grant_the_keys() -> None:
    assert keys_of(None) == Keys()


def test_keys_and_a_role_come_as_json_and_are_not_shown() -> None:
    keys = keys_of(
        '{"access_key_id": "AK", "secret_access_key": "SECRET", "role_arn": "arn:r", "external_id": "EX"}'
    )
    assert (keys.secret_access_key, keys.role_arn) == ("SECRET", "arn:r")
    assert "SECRET" not in repr(keys)
    assert "EX" not in repr(keys)


@pytest.mark.parametrize(
    ("secret", "words"),
    [
        ("AK:SECRET", "must be a JSON object"),
        ('["SECRET"]', "must be a JSON object"),
        ('{"access_key_id": 1}', "must be a JSON object of texts"),
        ('{"access_key_id": "SECRET"}', "both or neither"),
        ('{"password": "SECRET"}', "unknown fields: password"),
    ],
)
def test_a_secret_of_another_form_is_refused_and_not_quoted(secret: str, words: str) -> None:
    with pytest.raises(Rejected) as refused:
        keys_of(secret)
    assert words in refused.value.message
    assert "SECRET" not in refused.value.message
