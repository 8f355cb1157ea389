"""Agent tokens open one cluster's tunnel, for a while."""

from datetime import UTC, datetime, timedelta

import pytest

from controlplane.domain.ids import ClusterId
from controlplane.identity.agent_tokens import agent_token, opened, tunnel_password

NOW = datetime(2031, 1, 2, tzinfo=UTC)
KEY = b"k" * 32
TOKEN = agent_token(KEY, ClusterId("cls_1"), expires_at=NOW)


def test_a_token_says_whose_it_is_until_it_expires() -> None:
    assert opened(KEY, TOKEN, now=NOW - timedelta(seconds=1)) == "cls_1"
    assert opened(KEY, TOKEN, now=NOW) is None


@pytest.mark.parametrize(
    "token",
    ["", "cdg_", "cdg_a.b.c", TOKEN[:-1], TOKEN.replace("cls_1", "cls_2"), TOKEN.replace(".1", ".9"), "é"],
)
def test_what_was_changed_opens_nothing(token: str) -> None:
    assert opened(KEY, token, now=NOW - timedelta(days=1)) is None


def test_another_servers_token_opens_nothing_and_passwords_differ_by_cluster() -> None:
    assert opened(b"x" * 32, TOKEN, now=NOW - timedelta(days=1)) is None
    assert tunnel_password(KEY, "cls_1") != tunnel_password(KEY, "cls_2")
