"""``agent audit``: verify and export."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.store import audit
from agent.store.database import change
from tests.cli.test_store import run
from tests.store.installation import Installation


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Installation]:
    installation = Installation(tmp_path)
    for number in range(5):
        audit.append(
            installation.keyring, actor="anna", role="reviewer", source="web", action="override", object=f"s{number}"
        )
    yield installation
    installation.close()


def test_verify_tells_where_the_chain_breaks(store: Installation) -> None:
    done = run(store, "audit", "verify", "--json")
    assert done.returncode == 0, done.stderr
    assert (json.loads(done.stdout)["rows"], json.loads(done.stdout)["bad_at"]) == (5, None)
    store.writer.run(lambda: change("UPDATE audit SET actor = 'bert' WHERE seq = 3"))
    done = run(store, "audit", "verify")
    assert done.returncode == 1
    assert "row 3" in done.stdout


def test_export_writes_every_row_and_audits_itself(store: Installation, tmp_path: Path) -> None:
    done = run(store, "audit", "export")
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["action"] for row in rows] == ["override"] * 5 + ["audit_exported"]
    done = run(store, "audit", "export", "--format", "csv", "--out", str(tmp_path / "audit.csv"))
    assert done.returncode == 0, done.stderr
    table = list(csv.DictReader((tmp_path / "audit.csv").read_text().splitlines()))
    assert [row["object"] for row in table[:5]] == [f"s{n}" for n in range(5)]
