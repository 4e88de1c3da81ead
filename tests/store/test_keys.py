"""Keys: what is checked, what is refused, and that no key is used before it is on disk."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from agent.config import Settings
from agent.errors import ConfigError, IntegrityError
from agent.store import key_files
from agent.store.database import query
from agent.store.keys import Keyring, StudyKeys
from tests.store.installation import Installation, settings_in


def test_first_open_makes_a_private_key_file_and_says_so(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    assert Keyring.open(settings, create=True).created
    assert settings.key_file.stat().st_mode & 0o777 == 0o600
    assert (settings.data_dir / "keys.json").stat().st_mode & 0o777 == 0o600
    again = Keyring.open(settings, create=True)
    assert not again.created


def test_no_key_stands_in_clear_in_the_data_directory(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    keyring = Keyring.open(settings, create=True)
    text = (settings.data_dir / "keys.json").read_bytes()
    for key in (keyring.database_key, keyring.mapping_key, keyring.audit_key):
        assert key.hex().encode() not in text
        assert key not in text
        assert key.hex() not in repr(keyring)


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o700])
def test_a_key_file_that_others_may_use_is_refused(tmp_path: Path, mode: int) -> None:
    settings = settings_in(tmp_path)
    Keyring.open(settings, create=True)
    settings.key_file.chmod(mode)
    with pytest.raises(ConfigError, match="chmod 600") as caught:
        Keyring.open(settings)
    assert caught.value.code == "key_mode"


def test_a_read_only_key_file_is_fine(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    Keyring.open(settings, create=True)
    settings.key_file.chmod(0o400)
    Keyring.open(settings)


def test_the_key_of_another_installation_is_refused_with_a_next_step(tmp_path: Path) -> None:
    settings, other = settings_in(tmp_path / "a"), settings_in(tmp_path / "b")
    Keyring.open(settings, create=True)
    Keyring.open(other, create=True)
    settings.key_file.write_bytes(other.key_file.read_bytes())
    with pytest.raises(ConfigError, match="another key") as caught:
        Keyring.open(settings)
    assert caught.value.code == "key_wrong"
    assert caught.value.hint


def test_a_missing_key_is_never_made_anew_over_existing_data(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    Keyring.open(settings, create=True)
    settings.key_file.rename(tmp_path / "aside")
    with pytest.raises(ConfigError) as caught:
        Keyring.open(settings, create=True)
    assert caught.value.code == "key_missing"
    (tmp_path / "aside").rename(settings.key_file)
    (settings.data_dir / "state.db").touch()
    (settings.data_dir / "keys.json").unlink()
    with pytest.raises(ConfigError) as caught:
        Keyring.open(settings, create=True)
    assert caught.value.code == "keys_missing"


@pytest.mark.parametrize(
    "damage", ["{}", "not json", '{"version": 2, "sets": []}', '{"version": 1, "sets": [{"wrapped": {}}]}']
)
def test_damaged_key_files_give_one_sentence(tmp_path: Path, damage: str) -> None:
    settings = settings_in(tmp_path)
    Keyring.open(settings, create=True)
    (settings.data_dir / "keys.json").write_text(damage)
    with pytest.raises(ConfigError):
        Keyring.open(settings)


def test_a_changed_wrapped_key_is_seen(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    Keyring.open(settings, create=True)
    path = settings.data_dir / "keys.json"
    content = json.loads(path.read_text())
    wrapped = content["sets"][0]["wrapped"]
    wrapped["audit"], wrapped["mapping"] = wrapped["mapping"], wrapped["audit"]
    path.write_text(json.dumps(content))
    with pytest.raises(ConfigError) as caught:
        Keyring.open(settings)
    assert caught.value.code == "keys_damaged"


def test_rotation_keeps_every_key_and_makes_the_old_master_useless(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    before = Keyring.open(settings, create=True)
    old = settings.key_file.read_bytes()
    Keyring.rotate_master(settings)
    after = Keyring.open(settings)
    assert after.database_key == before.database_key
    assert after.wrapping_key == before.wrapping_key
    settings.key_file.write_bytes(old)
    with pytest.raises(ConfigError):
        Keyring.open(settings)


@pytest.mark.parametrize("steps", [0, 1, 2])
def test_a_rotation_cut_off_anywhere_leaves_a_pair_that_opens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    settings = settings_in(tmp_path)
    before = Keyring.open(settings, create=True)
    real, done = key_files._replace, []

    def replace(path: Path, text: str) -> None:
        if len(done) == steps:
            raise KeyboardInterrupt
        done.append(path)
        real(path, text)

    monkeypatch.setattr(key_files, "_replace", replace)
    with pytest.raises(KeyboardInterrupt):
        Keyring.rotate_master(settings)
    monkeypatch.undo()
    assert Keyring.open(settings).database_key == before.database_key
    Keyring.rotate_master(settings)
    assert Keyring.open(settings).database_key == before.database_key
    assert len(json.loads((settings.data_dir / "keys.json").read_text())["sets"]) == 1


def test_sealed_fields_open_only_in_their_context(store: Installation) -> None:
    sealed = store.keyring.seal(b"MARKED^PATIENT", "study:1")
    assert store.keyring.unseal(sealed, "study:1") == b"MARKED^PATIENT"
    with pytest.raises(IntegrityError):
        store.keyring.unseal(sealed, "study:2")
    with pytest.raises(IntegrityError):
        store.keyring.unseal(b"short", "study:1")


def test_a_study_id_is_stable_opaque_and_short(store: Installation) -> None:
    first = store.keyring.study_id("1.2.3")
    assert first == store.keyring.study_id("1.2.3")
    assert first != store.keyring.study_id("1.2.4")
    assert len(first) == 16
    assert first.isalnum()
    assert first == first.lower()


def test_a_key_is_on_disk_before_it_is_handed_out(store: Installation) -> None:
    key = store.keys.for_study("1.2.3")
    with_file = Keyring.open(store.settings)
    wrapped = query("SELECT wrapped FROM study_key WHERE key_id = ?", (key.key_id,))[0][0]
    assert with_file.unwrap(wrapped, key.key_id) == key.secret


def test_many_threads_get_one_key_a_study(store: Installation) -> None:
    got: dict[str, set[str]] = {f"1.2.{n}": set() for n in range(12)}
    barrier = threading.Barrier(6)

    def ask() -> None:
        barrier.wait()
        for uid, ids in got.items():
            ids.add(store.keys.for_study(uid).key_id)

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(len(ids) == 1 for ids in got.values())
    assert len({next(iter(ids)) for ids in got.values()}) == 12
    store.writer.run(lambda: None)
    named = dict(query("SELECT study_id, key_id FROM study_key WHERE study_id IS NOT NULL"))
    assert named == {store.keyring.study_id(uid): next(iter(ids)) for uid, ids in got.items()}


def test_a_study_keeps_its_key_over_a_restart(store: Installation) -> None:
    key = store.keys.for_study("1.2.3")
    store.writer.run(lambda: None)
    again = StudyKeys(store.writer, store.keyring, pool_size=2)
    assert again.for_study("1.2.3") == key


def test_pool_keys_of_an_earlier_run_are_not_handed_out_again(store: Installation) -> None:
    before = {row[0] for row in query("SELECT key_id FROM study_key")}
    again = StudyKeys(store.writer, store.keyring, pool_size=3)
    assert all(again.for_study(f"1.9.{n}").key_id not in before for n in range(3))
    store.writer.run(lambda: None)
    again.discard_leftovers()
    assert before.isdisjoint({row[0] for row in query("SELECT key_id FROM study_key")})


def test_secrets_of_a_deleted_study_are_refused(store: Installation) -> None:
    key = store.keys.for_study("1.2.3")
    assert store.keys.secrets_for([key.key_id]) == {key.key_id: key.secret}
    with pytest.raises(IntegrityError) as caught:
        store.keys.secrets_for([key.key_id, "gone"])
    assert caught.value.code == "key_shredded"


@pytest.mark.parametrize("place", ["data/agent.key", "data/deep/agent.key", "link/agent.key"])
def test_a_master_key_in_the_data_directory_is_refused(tmp_path: Path, place: str) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "data")
    settings = Settings(data_dir=tmp_path / "data", keys={"file": tmp_path / place})
    for use in (lambda: Keyring.open(settings, create=True), lambda: Keyring.check(settings)):
        with pytest.raises(ConfigError, match="lies in the data directory"):
            use()
    assert not list((tmp_path / "data").iterdir())
