"""The two files that hold keys: the master key file and ``keys.json``.

Job: create, read, check and rotate them so that a crash at any moment leaves a pair that opens. Place: called by
``agent.store.keys`` only. It must never put the master key beside what it protects, nor overwrite a key that exists.
"""

from __future__ import annotations

import base64
import json
import os
import stat
from pathlib import Path
from typing import TypedDict

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from agent.errors import ConfigError

WRAPPED_FILE = "keys.json"
FIRST_LINE = "imaging-agent master key 1"
NAMES = ("database", "mapping", "blind", "pseudonym-1", "audit", "reference", "session", "study")
CHECK = "check"
CHECK_VALUE = b"imaging-agent keys 1"


class KeySet(TypedDict):
    """Keys wrapped by one master key; ``check`` among them tells which."""

    wrapped: dict[str, str]


class KeyFile(TypedDict):
    """Content of ``keys.json``: one set, two while a rotation is under way."""

    version: int
    sets: list[KeySet]


def create_missing(key_file: Path, data_dir: Path) -> bool:
    """Make the key file and ``keys.json`` of a new installation; True when a key file was made.

    Raises
    ------
    ConfigError
        When a file cannot be written.
    """
    wrapped = data_dir / WRAPPED_FILE
    if wrapped.exists():
        return False
    created = False
    try:
        data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not key_file.exists():
            key_file.parent.mkdir(parents=True, exist_ok=True)
            created = _write_new(key_file, _master_text(os.urandom(32)))
        master = read_master(key_file)
        content = KeyFile(version=1, sets=[_wrap_set({name: os.urandom(32) for name in NAMES}, master)])
        _write_new(wrapped, json.dumps(content, indent=1) + "\n")
    except OSError as error:
        raise ConfigError(
            f"The keys cannot be written ({error.strerror}): {error.filename}.",
            code="keys_unwritable",
            hint="Make the folder writable for the agent's user, or set `keys.file`.",
        ) from error
    return created


def refuse_beside_data(key_file: Path, data_dir: Path) -> None:
    """Refuse a master key that lies with what it protects: whoever takes the disk or a backup would have both.

    Raises
    ------
    ConfigError
        Naming the setting that moves it.
    """
    if key_file.resolve().is_relative_to(data_dir.resolve()):
        raise ConfigError(
            f"The key file {key_file} lies in the data directory {data_dir}.",
            code="key_beside_data",
            hint="Move it to a folder or disk of its own and set `keys.file`.",
        )


def refuse_loss(key_file: Path, data_dir: Path) -> None:
    """Say so when one of the two files is gone from an installation that was made with both.

    Raises
    ------
    ConfigError
        With the only remedy: a copy of what is missing.
    """
    wrapped = data_dir / WRAPPED_FILE
    is_made = wrapped.exists()
    if not is_made and (data_dir / "state.db").exists():
        raise ConfigError(
            f"{wrapped} is missing although {data_dir} holds data.",
            code="keys_missing",
            hint="Restore it from your backup; without it the data cannot be read.",
        )
    if is_made and not key_file.exists():
        raise ConfigError(
            f"{data_dir} was made with a key that is missing ({key_file}).",
            code="key_missing",
            hint="Restore your copy; without it nothing can be read. For a new installation choose another --data.",
        )


def read_master(key_file: Path) -> bytes:
    """Read the master key.

    Raises
    ------
    ConfigError
        When the file is missing, readable by others or damaged.
    """
    try:
        mode = key_file.stat().st_mode
        lines = key_file.read_text(encoding="ascii").split("\n")
    except FileNotFoundError as error:
        raise ConfigError(
            f"There is no key file {key_file}.",
            code="key_missing",
            hint="Run `agent keys init` or start `agent serve` once; if you have a key elsewhere, set `keys.file`.",
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"The key file {key_file} cannot be read.", code="key_unreadable") from error
    if stat.S_IMODE(mode) & 0o177:
        raise ConfigError(
            f"The key file {key_file} has mode {stat.S_IMODE(mode):04o}; others could use it.",
            code="key_mode",
            hint=f"Run: chmod 600 {key_file}",
        )
    try:
        key = base64.b64decode(lines[1], validate=True) if lines[0] == FIRST_LINE else b""
    except (IndexError, ValueError):
        key = b""
    if len(key) != 32:
        raise ConfigError(f"{key_file} is no master key of this agent.", code="key_damaged", hint="Restore it.")
    return key


def unwrap_all(data_dir: Path, master: bytes) -> dict[str, bytes]:
    """Return the keys of ``keys.json`` by name.

    Raises
    ------
    ConfigError
        When the file is missing or damaged, or `master` is not its key.
    """
    path = data_dir / WRAPPED_FILE
    for key_set in _read_sets(path):
        opened = _open_set(key_set, master)
        if opened is not None:
            return opened
    raise ConfigError(
        f"The master key does not open {path}.",
        code="key_wrong",
        hint="Check `keys.file`: this data directory was made with another key.",
    )


def rotate(key_file: Path, data_dir: Path) -> None:
    """Put a new master key in place of the present one.

    While two files cannot change at once, ``keys.json`` holds both sets until the key file is replaced, so that each
    moment of a crash leaves a pair that opens.

    Raises
    ------
    ConfigError
        When the present key does not fit or a file cannot be written.
    """
    opened = unwrap_all(data_dir, read_master(key_file))
    fresh = os.urandom(32)
    path = data_dir / WRAPPED_FILE
    present = [s for s in _read_sets(path) if _open_set(s, read_master(key_file)) is not None]
    new_set = _wrap_set(opened, fresh)
    try:
        _replace(path, json.dumps(KeyFile(version=1, sets=[*present, new_set]), indent=1) + "\n")
        _replace(key_file, _master_text(fresh))
        _replace(path, json.dumps(KeyFile(version=1, sets=[new_set]), indent=1) + "\n")
    except OSError as error:
        raise ConfigError(
            f"The keys cannot be written ({error.strerror}): {error.filename}.",
            code="keys_unwritable",
            hint="Nothing is lost; make the folder writable and run it again.",
        ) from error


def _master_text(key: bytes) -> str:
    return f"{FIRST_LINE}\n{base64.b64encode(key).decode()}\n"


def _wrapping_key(master: bytes) -> AESGCM:
    return AESGCM(HKDF(algorithm=SHA256(), length=32, salt=None, info=b"imaging-agent wrap keys.json").derive(master))


def _wrap_set(keys: dict[str, bytes], master: bytes) -> KeySet:
    cipher = _wrapping_key(master)
    wrapped = {}
    for name, key in {CHECK: CHECK_VALUE, **keys}.items():
        nonce = os.urandom(12)
        wrapped[name] = base64.b64encode(nonce + cipher.encrypt(nonce, key, name.encode())).decode()
    return KeySet(wrapped=wrapped)


def _open_set(key_set: KeySet, master: bytes) -> dict[str, bytes] | None:
    """Return the keys, or None when the check value says that another master key wrapped them."""
    cipher = _wrapping_key(master)
    try:
        raw = {name: base64.b64decode(text) for name, text in key_set["wrapped"].items()}
        if cipher.decrypt(raw[CHECK][:12], raw.pop(CHECK)[12:], CHECK.encode()) != CHECK_VALUE:
            return None
    except (InvalidTag, KeyError, ValueError):
        return None
    try:
        opened = {name: cipher.decrypt(value[:12], value[12:], name.encode()) for name, value in raw.items()}
    except (InvalidTag, ValueError) as error:
        raise ConfigError(
            f"{WRAPPED_FILE} is damaged: a wrapped key does not open.", code="keys_damaged", hint="Restore it."
        ) from error
    missing = set(NAMES) - set(opened)
    if missing:
        raise ConfigError(
            f"{WRAPPED_FILE} lacks the key {min(missing)}.",
            code="keys_damaged",
            hint="Restore it from your backup.",
        )
    return opened


def _read_sets(path: Path) -> list[KeySet]:
    try:
        content: KeyFile = json.loads(path.read_text(encoding="utf-8"))
        if content["version"] != 1:
            raise ConfigError(
                f"{path} is of a newer version of the agent.", code="keys_newer", hint="Update the agent."
            )
        return list(content["sets"])
    except FileNotFoundError as error:
        raise ConfigError(
            f"There is no {path}.",
            code="keys_missing",
            hint="Run `agent keys init` or start `agent serve` once; check --data if that was done.",
        ) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"{path} cannot be read.", code="keys_damaged", hint="Restore it from your backup."
        ) from error


def _write_new(path: Path, text: str) -> bool:
    """Write a file that did not exist, mode 0600, synced; False when another process was faster."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    _write_synced(temporary, text)
    try:
        os.link(temporary, path)
    except FileExistsError:
        return False
    finally:
        temporary.unlink()
        _sync_folder(path.parent)
    return True


def _replace(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    _write_synced(temporary, text)
    temporary.replace(path)
    _sync_folder(path.parent)


def _write_synced(path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.write(descriptor, text.encode())
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
