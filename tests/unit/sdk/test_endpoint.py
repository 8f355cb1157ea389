"""Where the client finds its server, and to whom it would give its token."""

import json
from pathlib import Path

import pytest

from controlplane.sdk import Misconfigured
from controlplane.sdk.endpoint import find

SAVED = "http://127.0.0.1:8042"


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "client.json").write_text(json.dumps({"url": SAVED, "token": "cd_saved"}))
    return {"CROSSDOCK_HOME": str(tmp_path)}


def test_the_client_file_is_the_last_resort(home: dict[str, str]) -> None:
    found = find(None, None, home)
    assert (found.urls, found.token) == ((SAVED,), "cd_saved")


def test_the_environment_goes_before_the_file(home: dict[str, str]) -> None:
    given = {**home, "CROSSDOCK_URL": "https://a.example,https://b.example/", "CROSSDOCK_TOKEN": "cd_env"}
    found = find(None, None, given)
    assert (found.urls, found.token) == (("https://a.example", "https://b.example"), "cd_env")


def test_arguments_go_before_everything(home: dict[str, str]) -> None:
    given = {**home, "CROSSDOCK_URL": "https://a.example", "CROSSDOCK_TOKEN": "cd_env"}
    found = find("https://c.example", "cd_own", given)
    assert (found.urls, found.token) == (("https://c.example",), "cd_own")


def test_the_saved_token_does_not_travel_to_another_server(home: dict[str, str]) -> None:
    assert find("https://other.example", None, home).token is None
    assert find(SAVED, None, home).token == "cd_saved"


def test_a_token_is_not_shown(home: dict[str, str]) -> None:
    assert "cd_saved" not in repr(find(None, None, home))


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://cluster.example:8042", "would send the token in the clear"),
        ("http://10.0.0.1", "would send the token in the clear"),
        ("ftp://127.0.0.1", "is no server address"),
        ("127.0.0.1:8042", "is no server address"),
    ],
)
def test_an_address_that_must_not_be_used_is_refused(url: str, why: str) -> None:
    with pytest.raises(Misconfigured, match=why):
        find(url, "cd_x", {"CROSSDOCK_HOME": "/nowhere"})


@pytest.mark.parametrize(
    "url", ["http://localhost:8042", "http://127.0.0.2", "http://[::1]:1", "https://x.example"]
)
def test_loopback_and_tls_are_fine(url: str) -> None:
    assert find(url, "cd_x", {"CROSSDOCK_HOME": "/nowhere"}).urls == (url,)


def test_without_any_address_it_says_where_one_comes_from(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="set CROSSDOCK_URL, or run `crossdock server init`"):
        find(None, None, {"CROSSDOCK_HOME": str(tmp_path)})


@pytest.mark.parametrize("text", ["{", "[]"])
def test_a_broken_client_file_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "client.json").write_text(text)
    with pytest.raises(Misconfigured, match=r"client\.json"):
        find(None, None, {"CROSSDOCK_HOME": str(tmp_path)})
