"""The audit: an append-only chain of what people and the agent did.

Job: append rows, each bound to the one before by an HMAC, and check the chain. Place: any process appends;
transitions append in their own transaction. A row must never hold patient data, and must never be changed: the check
finds it.
"""

from __future__ import annotations

import csv
import hmac
import io
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from agent.store.database import change, current, query, transact
from agent.store.keys import Keyring

GENESIS = "0" * 64
_HEAD = "audit_head"
_COLUMNS = "seq, at, actor, role, source, action, object, outcome, detail_json, previous, digest"
_PAGE = 1000


@dataclass(frozen=True, slots=True)
class Entry:
    """What happened."""

    actor: str
    role: str
    source: str
    action: str
    object: str = ""
    outcome: str = "ok"
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AuditRow:
    """A row of the audit."""

    seq: int
    at: float
    actor: str
    role: str
    source: str
    action: str
    object: str
    outcome: str
    detail_json: str
    previous: str
    digest: str

    @property
    def detail(self) -> dict[str, Any]:
        """The detail as it was given."""
        detail: dict[str, Any] = json.loads(self.detail_json)
        return detail


@dataclass(frozen=True, slots=True)
class AuditCheck:
    """Result of a check: how many rows, the first that does not fit, and the digest of the last that does.

    A sealed count beside the chain shows when the newest rows were removed. Who can put the whole database back to an
    earlier copy can still hide what came after: compare `rows` and `head` with what was noted elsewhere.
    """

    rows: int
    bad_at: int | None
    head: str = GENESIS

    @property
    def is_intact(self) -> bool:
        """Whether no row was changed, removed or moved."""
        return self.bad_at is None


def _digest(key: bytes, row: AuditRow) -> str:
    content = asdict(row)
    del content["digest"], content["previous"]
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hmac.digest(key, f"{row.previous}|{canonical}".encode(), "sha256").hex()


def append(  # noqa: PLR0913 - the columns of a row
    keyring: Keyring,
    *,
    actor: str,
    role: str,
    source: str,
    action: str,
    object: str = "",  # noqa: A002 - the word of the row
    outcome: str = "ok",
    detail: Mapping[str, Any] | None = None,
) -> int:
    """Append a row, committed when this returns; from any process.

    Returns
    -------
    int
        Its number.

    Raises
    ------
    StorageError
        When the database did not take it.
    """
    entry = Entry(actor, role, source, action, object, outcome, detail or {})
    return transact(lambda: append_in_transaction(entry, time.time(), keyring.audit_key))


def append_in_transaction(entry: Entry, at: float, key: bytes | None = None) -> int:
    """Append a row in the transaction of this thread, which holds the write lock, so that the head cannot move."""
    head = query("SELECT seq, digest FROM audit ORDER BY seq DESC LIMIT 1")
    seq, previous = (head[0][0] + 1, head[0][1]) if head else (1, GENESIS)
    detail = json.dumps(dict(entry.detail), sort_keys=True, separators=(",", ":"), default=str)
    row = AuditRow(
        seq, at, entry.actor, entry.role, entry.source, entry.action, entry.object, entry.outcome, detail, previous, ""
    )
    digest = _digest(key or current().keyring.audit_key, row)
    change(
        f"INSERT INTO audit ({_COLUMNS}) VALUES (?,?,?,?,?,?,?,?,?,?,?)",  # noqa: S608
        (*list(asdict(row).values())[:-1], digest),
    )
    change(
        "INSERT INTO meta (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        (_HEAD, _seal_head(key or current().keyring.audit_key, seq, digest)),
    )
    return seq


def _seal_head(key: bytes, seq: int, digest: str) -> str:
    """Bind the number of rows to the key, so that a chain that lost its newest rows does not look whole."""
    return f"{seq}:{hmac.digest(key, f'head|{seq}|{digest}'.encode(), 'sha256').hex()}"


def verify(keyring: Keyring | None = None) -> AuditCheck:
    """Go through the whole chain.

    Returns
    -------
    AuditCheck
        Rows seen; `bad_at` is the number of the first row that was changed, moved, or follows a gap.
    """
    key = (keyring or current().keyring).audit_key
    previous, expected = GENESIS, 1
    sealed = query("SELECT value FROM meta WHERE key = ?", (_HEAD,))
    noted = str(sealed[0][0]) if sealed else ""
    head_fits = not noted
    for row in rows():
        digest = _digest(key, row)
        if row.seq != expected or row.previous != previous or not hmac.compare_digest(digest, row.digest):
            return AuditCheck(expected - 1, expected, previous)
        previous, expected = row.digest, expected + 1
        head_fits = head_fits or hmac.compare_digest(noted, _seal_head(key, row.seq, row.digest))
    if (expected > 1 and not noted) or not head_fits:
        return AuditCheck(expected - 1, expected, previous)
    return AuditCheck(expected - 1, None, previous)


def rows(
    *,
    actor: str = "",
    action: str = "",
    object: str = "",  # noqa: A002 - the word of the row
    since: float = 0,
    until: float = 2**40,
) -> Iterator[AuditRow]:
    """Yield rows in order, page by page, so that memory does not grow with the audit.

    Parameters
    ----------
    actor, action, object : str, optional
        Only rows with exactly this.
    since, until : float, optional
        Only rows of this time.
    """
    where, parameters = ["at >= ?", "at <= ?"], [since, until]
    wanted: list[Any] = list(parameters)
    for column, value in (("actor", actor), ("action", action), ("object", object)):
        if value:
            where.append(f"{column} = ?")
            wanted.append(value)
    last = 0
    while True:
        page = query(
            f"SELECT {_COLUMNS} FROM audit WHERE seq > ? AND {' AND '.join(where)} ORDER BY seq LIMIT "  # noqa: S608
            f"{_PAGE}",
            (last, *wanted),
        )
        for values in page:
            yield AuditRow(*values)
        if len(page) < _PAGE:
            return
        last = page[-1][0]


def export(format_name: str = "jsonl") -> Iterator[str]:
    """Yield the audit line by line, as JSON lines or CSV; digests included, so that a copy can be checked.

    Parameters
    ----------
    format_name : str
        ``jsonl`` or ``csv``.
    """
    if format_name == "csv":
        yield _csv_line([name.strip() for name in _COLUMNS.split(",")])
    for row in rows():
        if format_name == "csv":
            yield _csv_line(list(asdict(row).values()))
        else:
            content = asdict(row)
            content["detail"] = json.loads(content.pop("detail_json"))
            yield json.dumps(content, separators=(",", ":")) + "\n"


def _csv_line(values: list[Any]) -> str:
    """Write one line; a value that a spreadsheet would run as a formula is made text."""
    buffer = io.StringIO()
    safe = [f"'{v}" if isinstance(v, str) and v[:1] in ("=", "+", "-", "@", "\t") else v for v in values]
    csv.writer(buffer, lineterminator="\n").writerow(safe)
    return buffer.getvalue()
