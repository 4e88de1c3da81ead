"""Child processes that never outlive their parent.

Job: start a program with its output in a file, stop it politely and then firmly, and tie its life to ours. Place: used
by ``s3_server`` and ``runner``; calls the operating system only. It must never end a process that it did not start.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

# PR_SET_PDEATHSIG survives execve; set by a launcher of its own because preexec_fn is not safe once threads exist.
_LAUNCHER = (
    "import ctypes,os,sys\n"
    "ctypes.CDLL(None).prctl(1,int(sys.argv[1]))\n"
    "if os.getppid()!=int(sys.argv[2]): sys.exit(1)\n"
    "os.execv(sys.argv[3],sys.argv[3:])\n"
)

# the signal comes when the *thread* that forked ends, so one thread that lives as long as the process forks them all
_SPAWNER = ThreadPoolExecutor(1, "children")


class Child:
    """One running program.

    Parameters
    ----------
    argv : sequence of str
        Absolute path of the program and its arguments; never a secret.
    log : Path
        File that gets what it prints.
    environment : mapping, optional
        Its environment; ours when omitted.
    folder : Path, optional
        Its working directory.
    on_parent_death : signal.Signals
        What the kernel sends it when we end without having stopped it.
    """

    def __init__(
        self,
        argv: Sequence[str],
        log: Path,
        *,
        environment: Mapping[str, str] | None = None,
        folder: Path | None = None,
        on_parent_death: signal.Signals = signal.SIGKILL,
    ) -> None:
        launcher = [sys.executable, "-S", "-c", _LAUNCHER, str(int(on_parent_death)), str(os.getpid())]

        def spawn() -> subprocess.Popen[bytes]:
            with log.open("ab") as output:
                return subprocess.Popen(  # noqa: S603 - fixed programs of ours
                    [*launcher, *argv],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    env=dict(environment) if environment is not None else None,
                    cwd=folder,
                    start_new_session=True,  # Ctrl-C reaches the parent only, which stops its children in order
                )

        self._process = _SPAWNER.submit(spawn).result()
        self.log = log

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """How it ended; None while it runs."""
        return self._process.poll()

    def stop(self, patience_s: float = 10) -> None:
        """Ask it to end, and make it end after `patience_s`."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(patience_s)
            except subprocess.TimeoutExpired:
                self.kill()

    def kill(self) -> None:
        """End it at once."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGCONT)
            self._process.kill()
            self._process.wait()

    def pause(self) -> None:
        """Stop it from running without ending it."""
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a paused one run on."""
        self._process.send_signal(signal.SIGCONT)

    def tail(self, lines: int = 5) -> str:
        """Return the last lines it printed."""
        text = self.log.read_text(encoding="utf-8", errors="replace") if self.log.exists() else ""
        return "\n".join(text.splitlines()[-lines:])
