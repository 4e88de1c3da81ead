"""The audit chain: whole when four processes write it, broken wherever somebody touches it."""

from __future__ import annotations

import json
import multiprocessing
from pathlib import Path

import pytest

from agent.store import audit
from agent.store.database import change, open_database, query
from agent.store.keys import Keyring
from tests.store.installation import Installation, settings_in


def _append_rows(folder: str, count: int) -> None:
    settings = settings_in(Path(folder))
    keyring = Keyring.open(settings)
    open_database(settings.data_dir, keyring)
    for number in range(count):
        audit.append(keyring, actor=f"p{number}", role="admin", source="cli", action="test", detail={"n": number})


def test_four_processes_append_a_thousand_rows_to_one_chain(store: Installation, tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    children = [context.Process(target=_append_rows, args=(str(tmp_path), 250)) for _ in range(4)]
    for child in children:
        child.start()
    for child in children:
        child.join()
        assert child.exitcode == 0
    check = audit.verify()
    assert (check.rows, check.bad_at) == (1000, None)


@pytest.fixture
def chain(store: Installation) -> Installation:
    for number in range(12):
        audit.append(
            store.keyring, actor="anna", role="reviewer", source="10.0.0.1", action="override", object=f"s{number}"
        )
    assert audit.verify().is_intact
    return store


@pytest.mark.parametrize(
    "column", ["at", "actor", "role", "source", "action", "object", "outcome", "detail_json", "previous", "digest"]
)
def test_an_edited_row_is_found(chain: Installation, column: str) -> None:
    chain.writer.run(lambda: change(f"UPDATE audit SET {column} = '7' WHERE seq = 5"))
    assert audit.verify().bad_at == 5


@pytest.mark.parametrize("seq", [1, 6, 12])
def test_a_deleted_row_is_found_the_newest_too(chain: Installation, seq: int) -> None:
    chain.writer.run(lambda: change("DELETE FROM audit WHERE seq = ?", (seq,)))
    assert audit.verify().bad_at == seq


def test_an_emptied_audit_is_found(chain: Installation) -> None:
    chain.writer.run(lambda: change("DELETE FROM audit"))
    assert not audit.verify().is_intact


def test_rows_that_changed_places_are_found(chain: Installation) -> None:
    def swap() -> None:
        for old, new in ((3, 1003), (4, 3), (1003, 4)):
            change("UPDATE audit SET seq = ? WHERE seq = ?", (new, old))

    chain.writer.run(swap)
    assert audit.verify().bad_at == 3


def test_a_rebuilt_chain_without_the_key_is_found(chain: Installation) -> None:
    forged = audit.Entry("nobody", "", "cli", "override")
    chain.writer.run(lambda: change("DELETE FROM audit WHERE seq = 12"))
    chain.writer.run(lambda: audit.append_in_transaction(forged, 1.0, bytes(32)))
    assert audit.verify().bad_at == 12


def test_rows_are_found_by_what_they_tell(chain: Installation) -> None:
    assert [row.object for row in audit.rows(object="s3")] == ["s3"]
    assert len(list(audit.rows(actor="anna", action="override"))) == 12
    assert list(audit.rows(actor="bert")) == []
    assert list(audit.rows(until=1.0)) == []


def test_the_export_holds_every_row_and_no_formula(chain: Installation) -> None:
    audit.append(chain.keyring, actor="=cmd()", role="", source="cli", action="x", detail={"k": [1, 2]})
    lines = [json.loads(line) for line in audit.export("jsonl")]
    assert [line["seq"] for line in lines] == list(range(1, 14))
    assert lines[-1]["detail"] == {"k": [1, 2]}
    table = list(audit.export("csv"))
    assert len(table) == 14
    assert "'=cmd()" in table[-1]


def test_an_act_that_fails_leaves_no_row(store: Installation) -> None:
    def act() -> None:
        audit.append(store.keyring, actor="a", role="", source="cli", action="x")
        raise ValueError

    with pytest.raises(ValueError):
        store.writer.run(act)
    assert query("SELECT count(*) FROM audit") == [(0,)]
