"""The folder of a demonstration.

Job: make it, mark it, and let one demonstration at a time use it. Place: used by ``runner`` before anything is started.
It must never write into a folder that holds somebody else's files.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from agent.errors import ConfigError

MARK = "demo.lock"
_OTHER = "Choose another folder with --data."


class DemoFolder:
    """A folder that belongs to demonstrations.

    Parameters
    ----------
    path : Path
        Made when it is missing; marked as a demonstration's by its file ``demo.lock``.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: int | None = None

    def claim(self) -> None:
        """Take it for this process.

        Raises
        ------
        ConfigError
            When it cannot be written, holds files that no demonstration made, or is in use.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
            if not (self.path / MARK).exists() and any(self.path.iterdir()):
                raise ConfigError(
                    f"{self.path} holds files that no demonstration made; nothing was changed.",
                    code="demo_foreign_folder",
                    hint=f"{_OTHER[:-1]}, one that is empty or does not exist yet.",
                )
            descriptor = os.open(self.path / MARK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise ConfigError(
                f"The folder {self.path} cannot be written: {error.strerror}.", code="demo_folder", hint=_OTHER
            ) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.read(descriptor, 32).decode("ascii", "replace").strip()
            os.close(descriptor)
            raise ConfigError(
                f"Another demo{f' (process {holder})' if holder else ''} uses {self.path}.",
                code="demo_locked",
                hint="Stop it or choose another folder with --data.",
            ) from error
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        self._file = descriptor

    def release(self) -> None:
        """Give it back; the mark stays."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
