"""The one writer: commits together, failures apart, nothing resolved before it is on disk."""

from __future__ import annotations

import multiprocessing
import os
import sqlite3
import threading
from pathlib import Path

import peewee
import pytest

from agent.errors import ConfigError, StorageError
from agent.store import database, schema
from agent.store.database import change, open_database, query
from agent.store.keys import Keyring
from agent.store.writer import Writer
from tests.store.installation import Installation, settings_in


def put(key: str, value: str = "") -> int:
    return change("INSERT INTO meta (key, value) VALUES (?, ?)", (key, value))


def keys() -> set[str]:
    return {row[0] for row in query("SELECT key FROM meta")}


def test_a_failed_operation_leaves_its_neighbours_alone(store: Installation) -> None:
    def fail() -> None:
        put("half")
        raise ValueError("mine")

    hold = threading.Event()
    futures = [store.writer.submit(hold.wait)]  # all that follows is one group
    futures += [store.writer.submit(lambda: put("a")), store.writer.submit(fail), store.writer.submit(lambda: put("b"))]
    hold.set()
    assert futures[1].result(5) == 1
    assert isinstance(futures[2].exception(5), ValueError)
    assert futures[3].result(5) == 1
    assert keys() >= {"a", "b"}
    assert "half" not in keys()


def test_a_constraint_fails_one_operation_only(store: Installation) -> None:
    hold = threading.Event()
    store.writer.submit(hold.wait)
    futures = [store.writer.submit(lambda: put("same")), store.writer.submit(lambda: put("same"))]
    futures.append(store.writer.submit(lambda: put("other")))
    hold.set()
    assert isinstance(futures[1].exception(5), peewee.IntegrityError)
    assert futures[2].result(5) == 1


def test_a_future_resolves_only_after_its_commit(store: Installation) -> None:
    seen: list[bool] = []
    future = store.writer.submit(lambda: put("done"))
    future.add_done_callback(lambda _: seen.append(_read_elsewhere(store, "done")))
    future.result(5)
    store.writer.run(lambda: None)
    assert seen == [True]


def _read_elsewhere(store: Installation, key: str) -> bool:
    found: list[bool] = []
    thread = threading.Thread(target=lambda: found.append(key in keys()))
    thread.start()
    thread.join()
    return found[0]


def test_other_threads_of_the_engine_cannot_write(store: Installation) -> None:
    with pytest.raises(peewee.OperationalError, match="readonly"):
        put("stray")


def test_transact_goes_through_the_writer(store: Installation) -> None:
    assert database.transact(lambda: put("through")) == 1
    assert "through" in keys()
    assert store.writer.run(lambda: database.transact(lambda: put("joined"))) == 1


def test_stop_commits_what_was_submitted_and_refuses_the_rest(store: Installation) -> None:
    futures = [store.writer.submit(lambda n=n: put(f"k{n}")) for n in range(50)]
    assert store.writer.stop(10)
    assert all(future.result(0) == 1 for future in futures)
    with pytest.raises(StorageError):
        store.writer.submit(lambda: None)


def test_stop_gives_up_at_its_deadline(store: Installation) -> None:
    hold = threading.Event()
    store.writer.submit(hold.wait)
    assert not store.writer.stop(0.05)
    hold.set()


def test_data_version_tells_of_changes_by_others(store: Installation) -> None:
    before = database.data_version()
    assert database.data_version() == before
    store.writer.run(lambda: put("news"))
    assert database.data_version() != before


def test_the_database_is_private_encrypted_and_durable(store: Installation) -> None:
    store.writer.run(lambda: put("marker", "MARKED^PATIENT"))
    path = store.settings.data_dir / "state.db"
    assert path.stat().st_mode & 0o777 == 0o600
    for file in path.parent.glob("state.db*"):
        assert b"MARKED" not in file.read_bytes()
    with pytest.raises(sqlite3.DatabaseError):
        sqlite3.connect(path).execute("SELECT * FROM meta")
    pragmas = store.writer.run(
        lambda: [query(f"PRAGMA {p}")[0][0] for p in ("journal_mode", "synchronous", "foreign_keys", "secure_delete")]
    )
    assert pragmas == ["wal", 2, 1, 1]


def test_the_database_opens_read_only_when_no_agent_runs(tmp_path: Path) -> None:
    installation = Installation(tmp_path)
    installation.writer.run(lambda: put("kept"))
    installation.close()
    opened = open_database(installation.settings.data_dir, installation.keyring, read_only=True)
    assert "kept" in keys()
    with pytest.raises(peewee.OperationalError):
        put("no")
    opened.close()


def test_a_wrong_database_key_is_a_configuration_error(tmp_path: Path) -> None:
    installation = Installation(tmp_path / "a")
    installation.close()
    other = Keyring.open(settings_in(tmp_path / "b"), create=True)
    with pytest.raises(ConfigError) as caught:
        open_database(installation.settings.data_dir, other)
    assert caught.value.code == "database_key"
    assert "keys.json" in caught.value.hint


def test_a_newer_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    installation = Installation(tmp_path)
    newer = schema.SCHEMA_VERSION + 1
    installation.writer.run(lambda: None)
    installation.writer._put(_pragma(newer)).result(5)
    installation.close()
    for create in (False, True):
        with pytest.raises(ConfigError) as caught:
            open_database(installation.settings.data_dir, installation.keyring, create=create)
        assert caught.value.code == "database_newer"


def _pragma(version: int):
    from agent.store.writer import _Item

    return _Item(lambda: query(f"PRAGMA user_version={version}"), alone=True)


def test_a_missing_database_is_named(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    keyring = Keyring.open(settings, create=True)
    with pytest.raises(ConfigError) as caught:
        open_database(settings.data_dir, keyring)
    assert caught.value.code == "database_missing"


def test_an_unsafe_sqlite_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = settings_in(tmp_path)
    keyring = Keyring.open(settings, create=True)
    monkeypatch.setattr(database.dbapi2, "sqlite_version_info", (3, 51, 2))
    with pytest.raises(ConfigError) as caught:
        open_database(settings.data_dir, keyring, create=True)
    assert caught.value.code == "sqlite_too_old"


def test_a_status_that_does_not_exist_is_refused_by_the_database(store: Installation) -> None:
    store.receive("1.2.3", 1)
    with pytest.raises(peewee.IntegrityError):
        store.writer.run(lambda: change("UPDATE study SET status = 'imagined'"))


def _write_and_die(folder: str, count: int, pipe: object) -> None:
    settings = settings_in(Path(folder))
    writer = Writer(settings.data_dir, Keyring.open(settings))
    writer.start()
    for n in range(count):
        writer.run(lambda n=n: put(f"row-{os.getpid()}-{n}"))
        pipe.send(f"row-{os.getpid()}-{n}")


def test_what_was_committed_survives_kill_9(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    keyring = Keyring.open(settings, create=True)
    acknowledged: set[str] = set()
    context = multiprocessing.get_context("spawn")
    for _ in range(2):
        ours, theirs = context.Pipe(duplex=False)
        child = context.Process(target=_write_and_die, args=(str(tmp_path), 100_000, theirs))
        child.start()
        theirs.close()
        while len(acknowledged) % 60 != 59:
            acknowledged.add(ours.recv())
        child.kill()
        child.join()
        try:
            while ours.poll():
                acknowledged.add(ours.recv())
        except EOFError:
            pass
        acknowledged.add("x" * len(acknowledged))
    opened = open_database(settings.data_dir, keyring, read_only=True)
    assert {name for name in acknowledged if name.startswith("row")} <= keys()
    assert query("PRAGMA integrity_check") == [("ok",)]
    opened.close()
    schema.database.initialize(None)
