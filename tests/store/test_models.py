"""Models: what is stored comes back whole, and the database itself lets one version serve."""

from dataclasses import replace

import pytest

from controlplane.domain.errors import Conflict, IllegalTransition, StaleWrite
from controlplane.domain.gates import Comparison, Gate
from controlplane.domain.ids import SecretId
from controlplane.domain.models import Stage
from controlplane.store import SigningKeyRow, Store
from tests import factories
from tests.store.planting import plant, raw

GATE = Gate(name="good", metric="accuracy", comparison=Comparison.AT_LEAST, limit=0.9, slack=0.01)


@pytest.fixture
def kept(store: Store) -> Store:
    """The first model with two candidates."""
    plant(store)
    store.write(lambda tx: tx.models.add(factories.model()))
    for number in (1, 2):
        published(store, number)
    return store


def published(store: Store, number: int) -> None:
    version = factories.model_version(number)
    store.write(lambda tx: tx.model_versions.add(factories.model(), version, by="anna"))


def moved(store: Store, number: int, stage: Stage) -> None:
    """Past all that would ask whether it may."""
    with store.read() as tx:
        version = tx.model_versions.by_number(factories.model().id, number)
    assert version is not None
    next_one = version.move(stage, at=factories.after(9))
    store.write(lambda tx: tx.model_versions.save(factories.model(), next_one, by="anna"))


def test_models_come_back_by_name_and_in_pages(kept: Store) -> None:
    second = factories.model(2, description="rich")
    kept.write(lambda tx: tx.models.add(second))
    with kept.read() as tx:
        assert tx.models.by_name(second.project_id, "model-2") == second
        assert tx.models.by_name(second.project_id, "model-3") is None
        assert [each.id for each in tx.models.list(None, "", 9)] == ["model-1", "model-2"]
        assert [each.id for each in tx.models.list(second.project_id, "model-1", 9)] == ["model-2"]
        assert tx.models.list(factories.project(2).id, "", 9) == []
    with pytest.raises(Conflict, match="uq_models_project_id_name"):
        kept.write(lambda tx: tx.models.add(replace(factories.model(3), name="model-1")))


def test_of_two_writers_of_a_model_the_second_is_refused(kept: Store) -> None:
    model = factories.model().with_another()
    kept.write(lambda tx: tx.models.save(model))
    with kept.read() as tx:
        assert tx.models.by_name(model.project_id, model.name) == model
    with pytest.raises(StaleWrite):
        kept.write(lambda tx: tx.models.save(model))


def test_versions_come_back_newest_first_and_tell_of_their_moves(kept: Store) -> None:
    moved(kept, 1, Stage.PRODUCTION)
    with kept.read() as tx:
        serving = tx.model_versions.in_production(factories.model().id)
        assert serving == factories.model_version().move(Stage.PRODUCTION, at=factories.after(9))
        newest = tx.model_versions.newest(factories.model().id, None, 9)
        assert [each.number for each in newest] == [2, 1]
        assert [each.number for each in tx.model_versions.newest(factories.model().id, 2, 9)] == [1]
        assert tx.model_versions.by_number(factories.model().id, 3) is None
        told = [event for _, event in tx.events.after(None, 99)[0] if event.subject == "version-1"]
    assert [event.kind for event in told] == ["model_version.candidate", "model_version.production"]
    assert told[1].data == {"from": "candidate", "model": "model-1", "number": 1, "by": "anna"}


def test_the_database_lets_one_version_of_a_model_serve(kept: Store) -> None:
    moved(kept, 1, Stage.PRODUCTION)
    with pytest.raises(Conflict, match="uq_model_versions_production"):
        moved(kept, 2, Stage.PRODUCTION)
    moved(kept, 1, Stage.STAGING)
    moved(kept, 2, Stage.PRODUCTION)


def test_a_number_is_given_once(kept: Store) -> None:
    again = replace(factories.model_version(9), number=2)
    with pytest.raises(Conflict, match="uq_model_versions_model_id_number"):
        kept.write(lambda tx: tx.model_versions.add(factories.model(), again, by="anna"))


def test_nothing_leaves_the_archive_not_even_past_the_store(kept: Store, database_url: str) -> None:
    moved(kept, 1, Stage.ARCHIVED)
    with pytest.raises(IllegalTransition):
        moved(kept, 1, Stage.STAGING)
    with raw(database_url) as other, pytest.raises(Exception, match=r"illegal move"):
        other.execute("UPDATE model_versions SET came_from = state, state = 'staging' WHERE id = 'version-1'")


def test_gates_are_replaced_by_name(kept: Store) -> None:
    model_id = factories.model().id
    other = replace(GATE, name="fast", comparison=Comparison.AT_MOST, limit=None)
    kept.write(lambda tx: tx.models.put_gate(model_id, GATE))
    kept.write(lambda tx: tx.models.put_gate(model_id, other))
    kept.write(lambda tx: tx.models.put_gate(model_id, replace(GATE, limit=0.95)))
    with kept.read() as tx:
        assert tx.models.gates(model_id) == (other, replace(GATE, limit=0.95))
    kept.write(lambda tx: tx.models.remove_gate(model_id, "fast"))
    with kept.read() as tx:
        assert [gate.name for gate in tx.models.gates(model_id)] == ["good"]
    with pytest.raises(Conflict, match="ck_model_gates_bound"):
        kept.write(lambda tx: tx.models.put_gate(model_id, replace(GATE, limit=None, slack=None)))


def test_one_key_signs_for_one_purpose(kept: Store) -> None:
    sealed = b"sealed"
    kept.write(
        lambda tx: tx.secrets.put(
            SecretId("s"), key_id="k", wrapped_key=sealed, nonce=sealed, ciphertext=sealed
        )
    )
    row = SigningKeyRow(key_id="key-1", public_pem="PEM", secret_id=SecretId("s"))
    kept.write(lambda tx: tx.signing_keys.add("manifests", row, factories.NOON))
    with kept.read() as tx:
        assert tx.signing_keys.get("manifests") == row
        assert tx.signing_keys.get("others") is None
    with pytest.raises(Conflict):
        kept.write(lambda tx: tx.signing_keys.add("manifests", row, factories.NOON))
