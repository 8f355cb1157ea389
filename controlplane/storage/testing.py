"""ObjectStoreContract: what every object store must do. A plugin's tests inherit it and give it a store."""

import io
from collections.abc import Iterator
from typing import BinaryIO

import pytest

from controlplane.domain.errors import Invalid, NotFound
from controlplane.storage.base import ObjectStore


class BrokenPipe(io.RawIOBase):
    """A source that gives some bytes and then fails, like an upload whose client went away."""

    def __init__(self) -> None:
        self._given = False

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        if self._given:
            raise ConnectionResetError
        self._given = True
        return b"x" * max(size, 1)


class ObjectStoreContract:
    """Inherit, and override `store` with a fixture that yields an empty store."""

    @pytest.fixture
    def store(self) -> Iterator[ObjectStore]:
        raise NotImplementedError

    def test_what_was_put_is_read_back(self, store: ObjectStore) -> None:
        size = store.put("uploads/abc", io.BytesIO(b"hello"))
        with store.get("uploads/abc") as data:
            assert (size, data.read()) == (5, b"hello")

    def test_an_empty_object_is_an_object(self, store: ObjectStore) -> None:
        store.put("empty", io.BytesIO())
        assert store.exists("empty")

    def test_putting_again_replaces_the_whole_object(self, store: ObjectStore) -> None:
        store.put("key", io.BytesIO(b"a long first version"))
        store.put("key", io.BytesIO(b"short"))
        with store.get("key") as data:
            assert data.read() == b"short"

    def test_an_absent_key_is_not_found(self, store: ObjectStore) -> None:
        with pytest.raises(NotFound):
            store.get("absent")
        assert not store.exists("absent")

    def test_a_folder_is_no_object(self, store: ObjectStore) -> None:
        store.put("folder/key", io.BytesIO(b"x"))
        with pytest.raises(NotFound):
            store.get("folder")
        assert not store.exists("folder")

    def test_keys_are_listed_in_order_by_prefix(self, store: ObjectStore) -> None:
        for key in ("b/1", "a/b", "a.b", "a/c/d", "ab"):
            store.put(key, io.BytesIO(b"x"))
        assert list(store.list("a")) == ["a.b", "a/b", "a/c/d", "ab"]
        assert list(store.list("a/")) == ["a/b", "a/c/d"]
        assert list(store.list("")) == ["a.b", "a/b", "a/c/d", "ab", "b/1"]

    def test_deleting_is_final_and_may_be_repeated(self, store: ObjectStore) -> None:
        store.put("key", io.BytesIO(b"x"))
        store.delete("key")
        store.delete("key")
        assert not store.exists("key")

    def test_a_source_that_breaks_off_leaves_nothing(self, store: ObjectStore) -> None:
        broken: BinaryIO = io.BufferedReader(BrokenPipe())
        with pytest.raises(Exception):  # noqa: B017, PT011 - which one is the plugin's choice
            store.put("key", broken)
        assert list(store.list("")) == []

    @pytest.mark.parametrize(
        "key",
        ["", "/etc/passwd", "../up", "a/../../up", "a//b", "a/./b", "a/", "nul\0", "back\\slash", "k" * 2000],
    )
    def test_a_key_that_leaves_the_store_is_refused(self, store: ObjectStore, key: str) -> None:
        with pytest.raises(Invalid) as caught:
            store.put(key, io.BytesIO(b"x"))
        assert (caught.value.field, caught.value.value) == ("key", key)
        assert list(store.list("")) == []
