"""Projects, queues, tokens, secrets, idempotency keys, uploads, reasons: small tables, whole answers."""

from dataclasses import replace

import pytest

from controlplane.domain.errors import Conflict
from controlplane.domain.ids import ClassId, ProjectId, QueueId, SecretId, TokenId
from controlplane.store import ReasonRow, Remembered, SecretRow, Store, UploadRow
from tests import factories
from tests.store.planting import plant

TOKEN = TokenId("token-1")


@pytest.fixture
def planted(store: Store) -> Store:
    plant(store)
    return store


def test_projects_are_found_and_listed_by_name(planted: Store) -> None:
    for number in (3, 2):
        planted.write(lambda tx, n=number: tx.projects.add(factories.project(n)))  # type: ignore[misc]
    one, two, three = (factories.project(n) for n in (1, 2, 3))

    with planted.read() as tx:
        assert tx.projects.get(one.id) == one == tx.projects.by_name("default")
        assert tx.projects.get(ProjectId("x")) is None
        assert tx.projects.list(None, 2) == [one, two]
        assert tx.projects.list("project-2", 2) == [three]
        assert tx.projects.by_ids([three.id, ProjectId("x")]) == {three.id: three}


def test_queues_are_found_in_their_project(planted: Store) -> None:
    other = factories.queue(2, project_id=ProjectId("project-2"), name="default")
    planted.write(lambda tx: tx.projects.add(factories.project(2)))
    planted.write(lambda tx: tx.queues.add(other))

    with planted.read() as tx:
        assert tx.queues.get(QueueId("queue-2")) == other
        assert tx.queues.get(QueueId("x")) is None
        assert tx.queues.by_name(ProjectId("project-2"), "default") == other
        assert tx.queues.by_name(ProjectId("project-2"), "x") is None
        assert tx.queues.list(None, None, 10) == [factories.queue(1), other]
        assert tx.queues.list(None, QueueId("queue-1"), 10) == [other]
        assert tx.queues.list(ProjectId("project-1"), None, 10) == [factories.queue(1)]


def test_a_token_is_found_by_its_hash_until_and_after_it_is_revoked(planted: Store) -> None:
    token = factories.token(1, project_id=ProjectId("project-1"), expires_at=factories.after(9))
    planted.write(lambda tx: tx.tokens.add(token))
    with planted.read() as tx:
        assert tx.tokens.by_hash(token.hash) == token == tx.tokens.get(TOKEN)
        assert tx.tokens.by_hash(b"other") is None
        assert tx.tokens.get(TokenId("x")) is None

    planted.write(lambda tx: tx.tokens.revoke(TOKEN, factories.after(1)))
    planted.write(lambda tx: tx.tokens.revoke(TOKEN, factories.after(2)))
    with planted.read() as tx:
        assert tx.tokens.by_hash(token.hash) == replace(token, revoked_at=factories.after(1))


def test_tokens_are_listed_in_pages(planted: Store) -> None:
    for number in (3, 1, 2):
        planted.write(lambda tx, n=number: tx.tokens.add(factories.token(n)))  # type: ignore[misc]

    with planted.read() as tx:
        assert tx.tokens.list(None, 2) == [factories.token(1), factories.token(2)]
        assert tx.tokens.list(TokenId("token-2"), 2) == [factories.token(3)]


def test_the_hash_of_a_token_is_not_shown() -> None:
    assert "hash" not in repr(factories.token())


def test_a_secret_is_kept_replaced_and_deleted(planted: Store) -> None:
    id_ = SecretId("secret-1")
    for nonce in (b"\x00\x01", b"\x00\x02"):
        planted.write(
            lambda tx, nonce=nonce: tx.secrets.put(  # type: ignore[misc]
                id_, key_id="k1", wrapped_key=b"\xff", nonce=nonce, ciphertext=b""
            )
        )
    with planted.read() as tx:
        assert tx.secrets.get(id_) == SecretRow(
            id=id_, key_id="k1", wrapped_key=b"\xff", nonce=b"\x00\x02", ciphertext=b""
        )

    planted.write(lambda tx: tx.secrets.delete(id_))
    with planted.read() as tx:
        assert tx.secrets.get(id_) is None


def test_an_answer_is_remembered_per_token_and_key(planted: Store) -> None:
    remembered = Remembered(request_hash=b"\x01\x02", code=201, body='{"id":"job-1"}')
    planted.write(lambda tx: tx.idempotency.put(TOKEN, "key", remembered))

    with planted.read() as tx:
        assert tx.idempotency.get(TOKEN, "key") == remembered
        assert tx.idempotency.get(TOKEN, "other") is None
        assert tx.idempotency.get(TokenId("token-2"), "key") is None


def test_of_two_requests_with_a_key_one_conflicts(planted: Store) -> None:
    remembered = Remembered(request_hash=b"1", code=201, body="")
    planted.write(lambda tx: tx.idempotency.put(TOKEN, "key", remembered))

    with pytest.raises(Conflict, match="pk_idempotency"):
        planted.write(lambda tx: tx.idempotency.put(TOKEN, "key", remembered))


def test_old_answers_are_forgotten(planted: Store) -> None:
    planted.write(
        lambda tx: tx.idempotency.put(TOKEN, "key", Remembered(request_hash=b"1", code=201, body=""))
    )

    assert planted.write(lambda tx: tx.idempotency.prune(tx.now.replace(year=2000))) == 0
    assert planted.write(lambda tx: tx.idempotency.prune(tx.now.replace(year=tx.now.year + 1))) == 1
    with planted.read() as tx:
        assert tx.idempotency.get(TOKEN, "key") is None


def test_an_upload_is_known_once(planted: Store) -> None:
    planted.write(lambda tx: tx.uploads.add("abc", 10, factories.NOON))
    planted.write(lambda tx: tx.uploads.add("abc", 10, factories.after(9)))

    with planted.read() as tx:
        assert tx.uploads.get("abc") == UploadRow(digest="abc", size_bytes=10, created_at=factories.NOON)
        assert tx.uploads.get("x") is None


def test_a_reason_is_written_when_it_changes_and_says_since_when(planted: Store) -> None:
    class_id = ClassId("class-1")

    def put(sentence: str, seconds: float) -> bool:
        at = factories.after(seconds)
        return planted.write(lambda tx: tx.reasons.put(class_id, "no_room", sentence, "wait", at))

    assert [put("2 fit", 1), put("2 fit", 2), put("1 fits", 3)] == [True, False, True]
    with planted.read() as tx:
        assert tx.reasons.get(class_id) == ReasonRow(
            class_id=class_id, code="no_room", sentence="1 fits", remedy="wait", at=factories.after(3)
        )
        assert tx.reasons.get(ClassId("x")) is None
