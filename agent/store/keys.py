"""Keys: the master key, the keys wrapped by it, and one data key a study.

Job: open and check the key files, derive opaque study ids, seal fields, and hand out study keys that are committed
before anything is encrypted under them. Place: every process opens a ``Keyring`` of its own from the files; only the
engine has ``StudyKeys``. Called by the store, the receivers' key service and the command line. It must never write a
key in clear into the data directory, a log or an error.
"""

from __future__ import annotations

import base64
import hmac
import os
import secrets
import threading
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from agent.config import Settings
from agent.errors import IntegrityError
from agent.store import key_files
from agent.store.schema import StudyKeyRow

if TYPE_CHECKING:
    from agent.store.writer import Writer

NONCE_BYTES = 12


def seal_bytes(key: bytes, plain: bytes, context: str) -> bytes:
    """Encrypt `plain` with AES-256-GCM under a random nonce; `context` must be given again to open it."""
    nonce = os.urandom(NONCE_BYTES)
    return nonce + AESGCM(key).encrypt(nonce, plain, context.encode())


def unseal_bytes(key: bytes, sealed: bytes, context: str) -> bytes:
    """Undo `seal_bytes`.

    Raises
    ------
    IntegrityError
        When the bytes were changed, belong to another context or were sealed with another key.
    """
    try:
        return AESGCM(key).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], context.encode())
    except (InvalidTag, ValueError) as error:
        raise IntegrityError(
            f"A sealed field ({context.split(':', maxsplit=1)[0]}) does not open with the agent's keys."
        ) from error


@dataclass(frozen=True, slots=True)
class Keyring:
    """The keys of an installation, unwrapped.

    Attributes
    ----------
    created : bool
        A master key file was made now; whoever starts the agent tells the user to back it up.
    pseudonym_version : int
        The version of `pseudonym_key`, which goes into what is derived from it.
    """

    database_key: bytes = field(repr=False)
    mapping_key: bytes = field(repr=False)
    blind_key: bytes = field(repr=False)
    pseudonym_key: bytes = field(repr=False)
    pseudonym_version: int
    audit_key: bytes = field(repr=False)
    reference_key: bytes = field(repr=False)
    session_key: bytes = field(repr=False)
    wrapping_key: bytes = field(repr=False)
    created: bool = False

    @classmethod
    def open(cls, settings: Settings, *, create: bool = False) -> Keyring:
        """Read the master key and unwrap ``keys.json`` with it.

        Parameters
        ----------
        settings : Settings
            Names the key file and the data directory.
        create : bool, optional
            Make what is missing when neither a key nor data exist yet.

        Raises
        ------
        ConfigError
            When a file is missing, readable by others, damaged, or the key is not the one of this data directory.
        """
        key_files.refuse_beside_data(settings.key_file, settings.data_dir)
        key_files.refuse_loss(settings.key_file, settings.data_dir)
        created = create and key_files.create_missing(settings.key_file, settings.data_dir)
        master = key_files.read_master(settings.key_file)
        opened = key_files.unwrap_all(settings.data_dir, master)
        version = max(int(name.removeprefix("pseudonym-")) for name in opened if name.startswith("pseudonym-"))
        return cls(
            database_key=opened["database"],
            mapping_key=opened["mapping"],
            blind_key=opened["blind"],
            pseudonym_key=opened[f"pseudonym-{version}"],
            pseudonym_version=version,
            audit_key=opened["audit"],
            reference_key=opened["reference"],
            session_key=opened["session"],
            wrapping_key=opened["study"],
            created=created,
        )

    @classmethod
    def check(cls, settings: Settings) -> None:
        """Make sure that the keys which are there can be used; a new installation has none yet.

        Raises
        ------
        ConfigError
            As :meth:`open` does.
        """
        key_files.refuse_beside_data(settings.key_file, settings.data_dir)
        key_files.refuse_loss(settings.key_file, settings.data_dir)
        if (settings.data_dir / key_files.WRAPPED_FILE).exists():
            cls.open(settings)
        elif settings.key_file.exists():
            key_files.read_master(settings.key_file)

    @classmethod
    def rotate_master(cls, settings: Settings) -> None:
        """Replace the master key: every wrapped key is wrapped anew, nothing else changes.

        Study keys are wrapped by a key that is itself wrapped by the master key, so they are covered without touching
        a row, and a running agent goes on.

        Raises
        ------
        ConfigError
            When the present key does not open ``keys.json`` or a file cannot be written.
        """
        key_files.rotate(settings.key_file, settings.data_dir)

    def study_id(self, study_uid: str) -> str:
        """Return the opaque id of a study: 16 characters of a keyed hash, also its reference in logs."""
        digest = hmac.digest(self.reference_key, b"study\0" + study_uid.encode(), "sha256")
        return base64.b32encode(digest[:10]).decode().lower()

    def wrap(self, dek: bytes, key_id: str) -> bytes:
        """Encrypt a data key for its row."""
        return seal_bytes(self.wrapping_key, dek, f"study-key:{key_id}")

    def unwrap(self, wrapped: bytes, key_id: str) -> bytes:
        """Decrypt the data key of a row.

        Raises
        ------
        IntegrityError
            When the row was changed.
        """
        return unseal_bytes(self.wrapping_key, wrapped, f"study-key:{key_id}")

    def seal(self, plain: bytes, context: str) -> bytes:
        """Encrypt an identifying field with the mapping key."""
        return seal_bytes(self.mapping_key, plain, context)

    def unseal(self, sealed: bytes, context: str) -> bytes:
        """Decrypt an identifying field.

        Raises
        ------
        IntegrityError
            When it was changed or belongs to another context.
        """
        return unseal_bytes(self.mapping_key, sealed, context)

    def blind_index(self, value: str) -> str:
        """Return a keyed hash by which a normalised value can be found without being stored."""
        return hmac.digest(self.blind_key, value.strip().upper().encode(), "sha256").hex()


@dataclass(frozen=True, slots=True)
class StudyKey:
    """The data key of one study."""

    key_id: str
    study_id: str
    secret: bytes = field(repr=False)


class StudyKeys:
    """Hands out one live data key a study; engine only.

    A key's row is committed (FULL) before the key leaves this class: a pool of keys without a study is kept ahead,
    so that the
    first image of a study does not wait for a commit. Which study took a key follows in the next transaction; if the
    engine dies in between, the segment's own header tells, and indexing the record completes the row.

    Parameters
    ----------
    writer : Writer
        The one writer of the database, started.
    keyring : Keyring
        Wraps the keys.
    pool_size : int, optional
        Keys committed ahead.
    """

    def __init__(self, writer: Writer, keyring: Keyring, pool_size: int = 32) -> None:
        self._writer = writer
        self._keyring = keyring
        self._pool_size = pool_size
        self._lock = threading.Lock()
        self._live: dict[str, StudyKey] = {}
        self._pool: deque[StudyKey] = deque()
        self._refilling = False
        self._started_at = time.time()
        self._add_to_pool(writer.run(lambda: self._insert(pool_size)))

    def for_study(self, study_uid: str) -> StudyKey:
        """Return the live key of a study; its row is on disk when this returns.

        Raises
        ------
        StorageError
            When no key could be committed.
        """
        study_id = self._keyring.study_id(study_uid)
        with self._lock:
            known = self._live.get(study_id)
        if known is not None:
            return known
        existing = self._read_live(study_id)
        while True:
            with self._lock:
                known = self._live.get(study_id) or existing
                if known is not None:
                    self._live[study_id] = known
                    return known
                if self._pool:
                    spare = self._pool.popleft()
                    key = self._live[study_id] = StudyKey(spare.key_id, study_id, spare.secret)
                    break
            # never wait for the writer with the lock held: its callbacks take it
            self._add_to_pool(self._writer.run(lambda: self._insert(1)), is_refill=False)
        self._writer.submit(lambda: assign_keys({key.key_id: study_id}))
        self._refill()
        return key

    def secrets_for(self, key_ids: Iterable[str]) -> dict[str, bytes]:
        """Return the secrets of `key_ids`, for workers and export.

        Raises
        ------
        IntegrityError
            When a key is gone: its study was deleted.
        """
        return read_secrets(self._keyring, key_ids)

    def forget(self, study_id: str) -> None:
        """Drop a deleted study's key from memory; the next image of that study gets a new one."""
        with self._lock:
            self._live.pop(study_id, None)

    def discard_leftovers(self) -> int:
        """Delete pool keys of earlier runs; only after recovery has indexed every record that may name one."""
        with self._lock:
            mine = {key.key_id for key in self._pool} | {key.key_id for key in self._live.values()}

        def delete() -> int:
            old = StudyKeyRow.select(StudyKeyRow.key_id).where(
                StudyKeyRow.study_id.is_null() & (StudyKeyRow.created_at < self._started_at)
            )
            ids = [row.key_id for row in old if row.key_id not in mine]
            return int(StudyKeyRow.delete().where(StudyKeyRow.key_id.in_(ids)).execute()) if ids else 0

        return self._writer.run(delete)

    def _read_live(self, study_id: str) -> StudyKey | None:
        row = (
            StudyKeyRow.select().where(StudyKeyRow.study_id == study_id).order_by(StudyKeyRow.created_at.desc()).first()
        )
        if row is None:
            return None
        return StudyKey(row.key_id, study_id, self._keyring.unwrap(bytes(row.wrapped), row.key_id))

    def _insert(self, count: int) -> list[StudyKey]:
        fresh = [StudyKey(secrets.token_hex(8), "", os.urandom(32)) for _ in range(count)]
        now = time.time()
        rows = [
            {"key_id": k.key_id, "study_id": None, "wrapped": self._keyring.wrap(k.secret, k.key_id), "created_at": now}
            for k in fresh
        ]
        StudyKeyRow.insert_many(rows).execute()
        return fresh

    def _add_to_pool(self, keys: list[StudyKey], *, is_refill: bool = True) -> None:
        with self._lock:
            self._pool.extend(keys)
            if is_refill:
                self._refilling = False

    def _refill(self) -> None:
        with self._lock:
            if self._refilling or len(self._pool) > self._pool_size // 2:
                return
            self._refilling = True
            wanted = self._pool_size - len(self._pool)
        future = self._writer.submit(lambda: self._insert(wanted))
        future.add_done_callback(lambda f: self._add_to_pool([] if f.exception() else f.result()))


def assign_keys(studies: dict[str, str]) -> None:
    """Record which study took which pool key (key id to study id); inside a writer operation."""
    for key_id, study_id in studies.items():
        StudyKeyRow.update(study_id=study_id).where(
            (StudyKeyRow.key_id == key_id) & StudyKeyRow.study_id.is_null()
        ).execute()


def read_secrets(keyring: Keyring, key_ids: Iterable[str]) -> dict[str, bytes]:
    """Return the secrets of `key_ids` from the database of this process.

    Raises
    ------
    IntegrityError
        When a key is gone or its row was changed.
    """
    wanted = set(key_ids)
    rows = StudyKeyRow.select().where(StudyKeyRow.key_id.in_(list(wanted)))
    found = {row.key_id: keyring.unwrap(bytes(row.wrapped), row.key_id) for row in rows}
    if len(found) < len(wanted):
        raise IntegrityError("A data key is gone: the study was deleted.", code="key_shredded")
    return found


def all_secrets(keyring: Keyring) -> dict[str, bytes]:
    """Return every data key, for recovery and verification."""
    return {row.key_id: keyring.unwrap(bytes(row.wrapped), row.key_id) for row in StudyKeyRow.select()}
