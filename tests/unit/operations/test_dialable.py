"""Which addresses may be registered as clusters, on a laptop and on a server that others use."""

from pathlib import Path

import pytest

from controlplane.domain.errors import Invalid
from controlplane.operations.dialable import check_setting, check_url
from controlplane.settings import Settings

LAPTOP = Settings(home=Path("/nowhere"), database_url="sqlite:////nowhere/x.db")
SERVER = Settings(
    home=Path("/nowhere"),
    database_url="sqlite:////nowhere/x.db",
    host="192.0.2.7",
    public_url="https://dock.example",
)
BEHIND_A_PROXY = Settings(
    home=Path("/nowhere"), database_url="sqlite:////nowhere/x.db", public_url="https://dock.example"
)
PERMISSIVE = Settings(
    home=Path("/nowhere"),
    database_url="sqlite:////nowhere/x.db",
    host="192.0.2.7",
    public_url="https://dock.example",
    allow_loopback_clusters=True,
)


@pytest.mark.parametrize(
    "host",
    [
        "169.254.169.254",
        "2852039166",
        "0xa9fea9fe",
        "0251.0376.0251.0376",
        "169.254.43518",
        "[::ffff:169.254.169.254]",
        "[::ffff:a9fe:a9fe]",
        "[64:ff9b::a9fe:a9fe]",
        "[fd00:ec2::254]",
        "100.100.100.200",
        "169.254.169.254.",
        "metadata.google.internal",
        "METADATA.GOOGLE.INTERNAL.",
    ],
)
@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("settings", [LAPTOP, SERVER, PERMISSIVE])
def test_a_metadata_service_is_refused_however_it_is_spelled(
    settings: Settings, scheme: str, host: str
) -> None:
    with pytest.raises(Invalid, match="metadata service"):
        check_url(settings, f"{scheme}://{host}:8265")


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1:8265", "http://localhost:8265", "https://[::1]:8265", "https://127.1", "https://0"],
)
def test_this_machine_is_for_those_who_are_alone_with_it(url: str) -> None:
    check_url(PERMISSIVE, url)
    check_url(LAPTOP, url)
    for settings in (SERVER, BEHIND_A_PROXY):
        with pytest.raises(Invalid, match="CROSSDOCK_ALLOW_LOOPBACK_CLUSTERS"):
            check_url(settings, url)


@pytest.mark.parametrize(
    ("settings", "url"),
    [
        (LAPTOP, "http://127.0.0.1:8042"),
        (LAPTOP, "http://localhost:8042/x"),
        (LAPTOP, "https://2130706433:8042"),
        (PERMISSIVE, "https://127.0.0.1:8042"),
        (SERVER, "https://192.0.2.7:8042"),
        (SERVER, "https://dock.example"),
        (SERVER, "https://DOCK.example:443/"),
    ],
)
def test_the_server_is_no_cluster_of_its_own(settings: Settings, url: str) -> None:
    with pytest.raises(Invalid, match="this server itself"):
        check_url(settings, url)


@pytest.mark.parametrize(
    "url",
    [
        "https://good.example\\@169.254.169.254",
        "https://\uff11\uff16\uff19.254.169.254",
        "https://%31%36%39.254.169.254",
        "https://ray example",
        "https://[fe80::1%25eth0]",
        "https://ray.example:99999",
        "https://",
        "https://user:hunter2@ray.example",
    ],
)
def test_what_programs_may_read_differently_is_refused(url: str) -> None:
    with pytest.raises(Invalid) as refused:
        check_url(LAPTOP, url)
    assert refused.value.field == "url"
    assert "hunter2" not in str((refused.value.message, refused.value.value))


@pytest.mark.parametrize("url", ["https://ray.example", "https://10.0.0.1:8042", "https://[fd00::1]:8265"])
def test_anybody_elses_address_is_fine(url: str) -> None:
    check_url(SERVER, url)


def test_plain_http_off_this_machine_is_refused() -> None:
    for url in ("http://ray.example", "http://10.0.0.1:8265", "http://0.0.0.0:8265", "http://127.1:8265"):
        with pytest.raises(Invalid, match="plain http"):
            check_url(LAPTOP, url)


@pytest.mark.parametrize(
    "value",
    [
        "http://169.254.169.254/latest",
        "HTTPS://[::ffff:169.254.169.254]:443",
        "a=https://fine.example,b=http://2852039166/",
        "https://x:y@metadata.google.internal",
    ],
)
def test_no_option_of_a_plugin_names_a_metadata_service(value: str) -> None:
    with pytest.raises(Invalid) as refused:
        check_setting(PERMISSIVE, "endpoint_url", value)
    assert refused.value.field == "settings.endpoint_url"


def test_an_option_may_name_this_machine_where_a_url_may() -> None:
    check_setting(LAPTOP, "endpoint_url", "http://127.0.0.1:5000")
    check_setting(SERVER, "endpoint_url", "https://ec2.example, us-east-1=ami-0a")
    with pytest.raises(Invalid):
        check_setting(SERVER, "endpoint_url", "http://[::1]:5000")
