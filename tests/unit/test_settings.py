"""Settings: read from the environment, refused with the variable's name."""

import pytest

from controlplane.domain.errors import Invalid
from controlplane.settings import Settings


def test_every_setting_has_a_default_and_can_be_given() -> None:
    settings = Settings.read(
        {"CROSSDOCK_HOME": "/srv/x", "CROSSDOCK_PORT": "81", "CROSSDOCK_LOCAL_CLUSTER": "false"}
    )
    assert (settings.url, settings.local_cluster) == ("http://127.0.0.1:81", False)
    assert settings.database_url == "sqlite:////srv/x/crossdock.db"


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("CROSSDOCK_PORT", "eighty"),
        ("CROSSDOCK_LEASE_SECONDS", "0"),
        ("CROSSDOCK_LEASE_SECONDS", "-1"),
        ("CROSSDOCK_LEASE_SECONDS", "nan"),
        ("CROSSDOCK_LEASE_SECONDS", "inf"),
        ("CROSSDOCK_LOCAL_CLUSTER", "perhaps"),
        ("CROSSDOCK_EXCHANGE_RATES", "CNY"),
        ("CROSSDOCK_EXCHANGE_RATES", "CNY=0"),
        ("CROSSDOCK_EXCHANGE_RATES", "yuan=0.14"),
    ],
)
def test_a_value_that_makes_no_sense_is_refused_by_the_name_of_its_variable(variable: str, text: str) -> None:
    with pytest.raises(Invalid, match=variable):
        Settings.read({variable: text})


@pytest.mark.parametrize("host", ["192.0.2.1", "dock.example", "127.0.0.1.evil.example"])
def test_a_server_off_loopback_needs_tls_in_front_of_it(host: str) -> None:
    with pytest.raises(Invalid, match="CROSSDOCK_PUBLIC_URL"):
        Settings.read({"CROSSDOCK_HOST": host})
    behind = Settings.read(
        {
            "CROSSDOCK_HOST": "192.0.2.1",
            "CROSSDOCK_PUBLIC_URL": "https://dock.example",
            "CROSSDOCK_GATEWAY_PORT": "0",
        }
    )
    assert behind.url == "https://dock.example"
