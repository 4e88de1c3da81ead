"""The processes of ``agent serve`` around the engine: lock, forkserver, web.

Job: make sure that one engine owns a data directory and that the processes of an earlier one are gone; open the
forkserver with what receivers need already imported; keep the web process alive. Place: used by ``engine``. It must
never start a process by forking the engine: threads and locks would come along.
"""

from __future__ import annotations

import fcntl
import os
import signal
import threading
from collections.abc import Callable
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path

from agent import metrics
from agent.clock import Clock
from agent.config import Settings
from agent.errors import ConfigError
from agent.logs import get_logger
from agent.pool import ChildContext, end_with_parent

log = get_logger("processes")

PRELOAD = ["agent.dicom.receiver"]
BACK_OFF_FIRST_S = 0.2
BACK_OFF_MAX_S = 30.0
STEADY_S = 60.0
WEB_GRACE_S = 0.2  # what requests that run when the engine dies get to end


class DataLock:
    """The exclusive lock on a data directory.

    Parameters
    ----------
    data_dir : Path
        Made when it is missing.
    """

    def __init__(self, data_dir: Path) -> None:
        self._path = data_dir / "lock"
        self._file: int | None = None

    def acquire(self) -> None:
        """Take the lock.

        Raises
        ------
        ConfigError
            When the directory cannot be written, or another agent holds it.
        """
        folder = self._path.parent
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise ConfigError(
                f"The data directory {folder} cannot be written: {error.strerror}.",
                code="data_dir_unwritable",
                hint="Check its owner and mode, or choose another with --data.",
            ) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.read(descriptor, 32).decode("ascii", "replace").strip()
            os.close(descriptor)
            raise ConfigError(
                f"Another agent{f' (process {holder})' if holder else ''} uses the data directory {folder}.",
                code="data_dir_locked",
                hint="Stop it first, or choose another directory with --data.",
            ) from error
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        self._file = descriptor

    def release(self) -> None:
        """Give the lock back."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


def open_forkserver() -> ForkServerContext:
    """Start the process that all children come from; before any thread.

    It and its children inherit that SIGINT and SIGTERM are blocked: a terminal and a service manager signal all
    processes at once, and only the engine knows in which order they may end.
    """
    context = ChildContext()
    context.set_forkserver_preload(PRELOAD)
    resource_tracker.ensure_running()  # it unblocks both signals when it starts
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return context


def wait_for_port(try_port: Callable[[], None], clock: Clock, timeout_s: float) -> None:
    """Try a port until the process of an engine that was killed has let it go.

    Raises
    ------
    ConfigError
        What `try_port` raised last.
    """
    deadline, pause = clock.monotonic() + timeout_s, threading.Event()
    while True:
        try:
            try_port()
        except ConfigError:
            if clock.monotonic() >= deadline:
                raise
            clock.wait(pause, 0.1)
        else:
            return


class WebProcess:
    """The web process, started again when it ends.

    Parameters
    ----------
    settings : Settings
        All settings.
    context : ForkServerContext
        Where it comes from.
    clock : Clock
        For the back-off.
    alarm : callable
        Told when it ends again and again (True) and when it is back (False).
    """

    def __init__(
        self,
        settings: Settings,
        context: ForkServerContext,
        clock: Clock,
        alarm: Callable[[bool], None],
    ) -> None:
        self._settings, self._context = settings, context
        self._clock, self._alarm = clock, alarm
        self._process: ForkServerProcess | None = None
        self._line: Connection | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="web-watch", daemon=True)

    @property
    def pid(self) -> int | None:
        """Its process id."""
        return self._process.pid if self._process is not None else None

    def start(self) -> None:
        """Start it, and the thread that watches it."""
        self._spawn()
        self._thread.start()

    def stop(self, timeout_s: float) -> None:
        """Let it end, and make it end after `timeout_s`."""
        self._stopping.set()
        process = self._process
        if self._line is not None:
            self._line.close()
        if process is not None:
            process.join(timeout_s)
            if process.is_alive():
                process.kill()
                process.join(1.0)
        if self._thread.is_alive():
            self._thread.join(1.0)

    def _spawn(self) -> None:
        ours, theirs = self._context.Pipe()
        arguments = (self._settings, theirs)
        process = self._context.Process(target=_run_child, args=arguments, name="agent-web")
        process.start()
        theirs.close()
        self._process, self._line = process, ours

    def _watch(self) -> None:
        """Thread main."""
        delay_s = BACK_OFF_FIRST_S
        while not self._stopping.is_set():
            process, born = self._process, self._clock.monotonic()
            assert process is not None
            process.join()
            if self._stopping.is_set():
                return
            if self._clock.monotonic() - born > STEADY_S:
                delay_s = BACK_OFF_FIRST_S
                self._alarm(False)
            metrics.RESTARTS.labels("web").inc()
            log.warning("web_died", exit_code=process.exitcode, delay_s=delay_s)
            if self._line is not None:
                self._line.close()
            if delay_s > 1:
                self._alarm(True)
            if self._clock.wait(self._stopping, delay_s):
                return
            delay_s = min(delay_s * 2, BACK_OFF_MAX_S)
            self._spawn()


def _run_child(settings: Settings, line: Connection) -> None:
    """Process main; ends with its engine from the first moment. A configuration error is one line, no traceback."""
    threading.Thread(target=end_with_parent, args=(WEB_GRACE_S,), name="parent-watch", daemon=True).start()
    from agent.web.server import run_web

    try:
        run_web(settings, line)
    except ConfigError as error:
        log.warning("web_not_started", code=error.code, reason=error.message, hint=error.hint)
        raise SystemExit(error.exit_code) from None


def wait_for_old_children(folder: Path, clock: Clock, timeout_s: float) -> bool:
    """Wait until no process of an earlier engine holds a segment; True when all are gone."""
    stop_at = clock.monotonic() + timeout_s
    pause = threading.Event()
    while any(_is_held(path) for path in folder.glob("*.seg")):
        if clock.monotonic() > stop_at:
            return False
        clock.wait(pause, 0.05)
    return True


def _is_held(path: Path) -> bool:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
