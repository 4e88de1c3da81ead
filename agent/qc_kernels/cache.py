"""Where compiled kernels are kept, and how they get there once.

Job: one folder for each combination of kernel sources, numba, Python and CPU; one process compiles, the others load;
whatever is damaged is deleted and compiled again. Place: called by `agent.qc.worker` and `agent.qc.measure` before
anything imports numba. It must never import numba itself before the folder is set, and never trust a cache file that is
not the one that was written: numba notices neither a changed callee in another module nor a truncated file.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.metadata
import json
import os
import pickle
import platform
import struct
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MANIFEST = "manifest.json"
LOCK = "lock"
_DIGEST_CHARACTERS = 24
_LOAD_ERRORS = (
    OSError,
    EOFError,
    pickle.UnpicklingError,
    ValueError,
    TypeError,
    AttributeError,
    LookupError,
    RuntimeError,
    ImportError,
    struct.error,
)


def warm_cache(root: Path) -> bool:
    """Make every kernel ready in this process: load it, or compile it while all others wait.

    Parameters
    ----------
    root : Path
        ``<data>/cache/numba``.

    Returns
    -------
    bool
        Something had to be compiled.
    """
    folder = use_cache(root)
    if is_complete(folder) and _load():
        return False
    with locked(folder):
        if is_complete(folder) and _load():
            return False
        empty(folder)
        _warm_up()
        write_manifest(folder)
    return True


def _load() -> bool:
    """Warm up; False when a cached file cannot be loaded."""
    try:
        _warm_up()
    except _LOAD_ERRORS:
        return False
    return True


def _warm_up() -> None:
    from agent.qc_kernels.warm import warm_up  # imports numba, which must not happen before `use_cache`

    warm_up()


def cache_key() -> str:
    """Hash of everything that machine code depends on."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    for package in ("numba", "llvmlite", "numpy"):
        digest.update(f"{package} {importlib.metadata.version(package)}\n".encode())
    digest.update(f"{sys.version} {platform.machine()} {_cpu()}".encode())
    return digest.hexdigest()[:_DIGEST_CHARACTERS]


def _cpu() -> str:
    """Model and features of the CPU, as far as the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").split("\n\n")[0].splitlines()
    except OSError:
        return platform.processor()
    return "\n".join(line for line in lines if line.startswith(("model name", "flags", "Features", "CPU part")))


def user_cache() -> Path:
    """Folder for commands that work without a data directory."""
    base = os.environ.get("XDG_CACHE_HOME")
    home = Path(base) if base else Path.home() / ".cache"
    folder = home / "imaging-ingestion-agent" / "numba"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError:
        return Path(tempfile.gettempdir()) / f"imaging-ingestion-agent-{os.getuid()}"
    return folder


def use_cache(root: Path) -> Path:
    """Make numba keep its files in ``root/<cache_key>``, readable by nobody else.

    Parameters
    ----------
    root : Path
        ``<data>/cache/numba``.

    Returns
    -------
    Path
        The folder in use.

    Raises
    ------
    OSError
        When the folder cannot be made.
    PermissionError
        When it belongs to somebody else: machine code in it would be run.
    """
    folder = root / cache_key()
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if folder.stat().st_uid != os.getuid():
        raise PermissionError("The folder for compiled kernels belongs to another user.")
    folder.chmod(0o700)
    os.environ["NUMBA_CACHE_DIR"] = str(folder)
    config = sys.modules.get("numba.core.config")
    if config is not None:
        # numba reads the environment only when it is imported
        config.CACHE_DIR = str(folder)  # type: ignore[attr-defined]
    return folder


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the folder's lock; released by the system when the process dies."""
    descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def is_complete(folder: Path) -> bool:
    """Every file is there as it was written when compiling ended."""
    try:
        expected = json.loads((folder / MANIFEST).read_text(encoding="ascii"))
    except (OSError, ValueError):
        return False
    return bool(expected) and expected == _digests(folder)


def write_manifest(folder: Path) -> None:
    """Record the files of the folder as complete."""
    text = json.dumps(_digests(folder), sort_keys=True)
    temporary = folder / f"{MANIFEST}.{os.getpid()}"
    temporary.write_text(text, encoding="ascii")
    temporary.replace(folder / MANIFEST)


def empty(folder: Path) -> None:
    """Delete all compiled files."""
    for path in _files(folder):
        path.unlink(missing_ok=True)
    (folder / MANIFEST).unlink(missing_ok=True)


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*.nb[ic]") if path.is_file())


def _digests(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in _files(folder)
    }
