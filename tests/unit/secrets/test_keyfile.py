"""The master key: made once, read by its owner alone."""

import base64
from pathlib import Path

import pytest

from controlplane.domain.errors import Invalid
from controlplane.secrets import keyfile


def test_a_new_key_is_private_and_read_back(tmp_path: Path) -> None:
    path = keyfile.create(tmp_path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert len(keyfile.read(tmp_path, {})) == 32


def test_creating_again_keeps_the_key(tmp_path: Path) -> None:
    keyfile.create(tmp_path)
    first = keyfile.read(tmp_path, {})
    keyfile.create(tmp_path)
    assert keyfile.read(tmp_path, {}) == first


def test_a_key_that_others_may_read_is_refused(tmp_path: Path) -> None:
    keyfile.create(tmp_path).chmod(0o640)
    with pytest.raises(Invalid, match="may be read by others") as caught:
        keyfile.read(tmp_path, {})
    assert (caught.value.value, caught.value.limit) == ("0o640", "0o600")


def test_without_a_key_the_message_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="crossdock server init"):
        keyfile.read(tmp_path, {})


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    keyfile.create(tmp_path)
    key = b"e" * 32
    assert keyfile.read(tmp_path, {keyfile.VARIABLE: base64.b64encode(key).decode()}) == key


@pytest.mark.parametrize("text", ["not base64!", base64.b64encode(b"short").decode()])
def test_a_malformed_key_is_refused_without_being_shown(tmp_path: Path, text: str) -> None:
    with pytest.raises(Invalid) as caught:
        keyfile.read(tmp_path, {keyfile.VARIABLE: text})
    assert caught.value.field == keyfile.VARIABLE
    assert text not in caught.value.message
