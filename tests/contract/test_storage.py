"""Every built-in object store keeps the contract."""

import io
from pathlib import Path

import pytest

from controlplane.domain.errors import Invalid, Transient
from controlplane.storage.base import ObjectStore
from controlplane.storage.fake import FakeStore
from controlplane.storage.file import FileStore
from controlplane.storage.testing import ObjectStoreContract


class TestFileStore(ObjectStoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> ObjectStore:
        return FileStore(tmp_path / "objects")

    def test_a_link_that_leads_out_is_not_followed(self, store: ObjectStore, tmp_path: Path) -> None:
        (tmp_path / "objects" / "out").symlink_to(tmp_path)
        with pytest.raises(Invalid):
            store.put("out/stolen", io.BytesIO(b"x"))
        assert not (tmp_path / "stolen").exists()

    def test_a_key_below_an_object_is_refused_and_leaves_it_whole(self, store: ObjectStore) -> None:
        store.put("a", io.BytesIO(b"x"))
        with pytest.raises(Transient):
            store.put("a/b", io.BytesIO(b"y"))
        assert list(store.list("")) == ["a"]


class TestFakeStore(ObjectStoreContract):
    @pytest.fixture
    def store(self) -> ObjectStore:
        return FakeStore()
