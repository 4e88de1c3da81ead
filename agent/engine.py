"""The engine: everything of ``agent serve``, built in order, stopped in reverse.

Job: composition root. Lock, keys, database, receivers, recovery, workers, actors, doors, web; a heartbeat that says
so; signals. Place: called by ``cli.serve`` and by tests. It must never accept an image before recovery is done, and
never wait without a deadline while stopping.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.context import ForkServerContext
from pathlib import Path
from types import FrameType

from agent import metrics
from agent.actors.house import House
from agent.actors.key_gate import KeyGate
from agent.actors.post import Post
from agent.actors.surroundings import Reads, Surroundings
from agent.actors.timer import Timer
from agent.actors.traffic import Traffic
from agent.arrivals import Arrivals
from agent.clock import Clock, SystemClock
from agent.cloud.contract import Cloud
from agent.config import Settings
from agent.dicom.receiver_pool import ReceiverPool
from agent.errors import CloudError, ConfigError, Permanent
from agent.logs import get_logger
from agent.messages import InstancesArrived
from agent.pool import WorkerPool
from agent.processes import DataLock, WebProcess, open_forkserver, wait_for_old_children, wait_for_port
from agent.qc.worker import warm_worker
from agent.startup import check_settings
from agent.store import associations, jobs, notices
from agent.store.keys import Keyring, StudyKeys
from agent.store.writer import Writer

HEARTBEAT_S = 1.0
OLD_CHILDREN_S = 30.0
OLD_WEB_S = 5.0
SIGNAL_LOOK_S = 0.25
STOP_S = 30.0
HURRY_S = 3.0
CLOUD_CHECK_S = 5.0  # images must not wait for a cloud that is silent
WORKERS_S = 1.0  # what a worker was at is done again after the next start

log = get_logger("engine")


class Engine:
    """One running agent.

    Parameters
    ----------
    settings : Settings
        All settings.
    recover : bool, optional
        Off only in the test that shows what recovery is for.
    with_web : bool, optional
        Start the dashboard.
    clock : Clock, optional
        Another clock than the machine's.
    """

    def __init__(
        self, settings: Settings, *, recover: bool = True, with_web: bool = True, clock: Clock | None = None
    ) -> None:
        self.settings = settings
        self.created_key = False
        self._recover, self._with_web = recover, with_web
        self._clock = clock or SystemClock()
        self._stop_asked, self._hurry = threading.Event(), threading.Event()
        self._parts: list[tuple[str, Callable[[float], object]]] = []
        self._is_ready = False
        self._on_first_signal: Callable[[], None] = lambda: None
        self._receivers: ReceiverPool | None = None
        self._pool: WorkerPool | None = None
        self._web: WebProcess | None = None
        self._arrivals: Arrivals | None = None
        self.around: Surroundings | None = None

    # -- what others ask ------------------------------------------------------------------------------------------

    @property
    def dicom_port(self) -> int:
        """The port that takes images."""
        return self._receivers.port if self._receivers is not None else 0

    @property
    def web_url(self) -> str:
        """The address of the dashboard; empty while there is none."""
        with contextlib.suppress(OSError, ValueError, KeyError):
            body = json.loads((self._run_folder / "web.json").read_text(encoding="utf-8"))
            if self._web is not None and body["pid"] == self._web.pid:
                return str(body["url"])
        return ""

    def wait_for_web(self, timeout_s: float = 10.0) -> str:
        """Return the address of the dashboard once it answers; empty when that takes too long."""
        deadline, pause = self._clock.monotonic() + timeout_s, threading.Event()
        while not (url := self.web_url) and self._clock.monotonic() < deadline and not self._stop_asked.is_set():
            self._clock.wait(pause, 0.05)
        return url

    def pids(self) -> dict[str, list[int]]:
        """Return the process ids by kind."""
        web = self._web.pid if self._web is not None else None
        return {
            "engine": [os.getpid()],
            "receiver": self._receivers.pids() if self._receivers is not None else [],
            "worker": self._pool.pids() if self._pool is not None else [],
            "web": [web] if web is not None else [],
        }

    # -- life -----------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start everything; what was started is stopped again when something fails.

        Raises
        ------
        ConfigError
            One line that says what is wrong and what to do.
        """
        try:
            self._start()
        except BaseException:
            self.stop(HURRY_S)
            raise

    def run(self, on_ready: Callable[[], None] = lambda: None, on_signal: Callable[[], None] = lambda: None) -> None:
        """Start, run until a signal or :meth:`ask_to_stop`, stop; `on_signal` hears of the first signal."""
        self._on_first_signal = on_signal
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        signal.signal(signal.SIGUSR1, dump_threads)
        self.start()
        try:
            on_ready()
            # not one long wait: a signal that comes just before it sleeps would be noticed at its end only
            while not self._stop_asked.wait(SIGNAL_LOOK_S):
                pass
        finally:
            self.stop(STOP_S)

    def ask_to_stop(self) -> None:
        """Let :meth:`run` end."""
        self._stop_asked.set()

    def stop(self, timeout_s: float = STOP_S) -> None:
        """Stop everything in reverse, each part with what is left of the time."""
        self._is_ready = False
        deadline = self._clock.monotonic() + timeout_s
        while self._parts:
            name, stop_part = self._parts.pop()
            left_s = max(0.5, deadline - self._clock.monotonic())
            if self._hurry.is_set():
                left_s = min(left_s, HURRY_S)
            try:
                stop_part(left_s)
            except Exception:
                log.exception("stop_failed", part=name)
            log.debug("stopped", part=name)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        if self._stop_asked.is_set():
            self._hurry.set()
        else:
            self._on_first_signal()
        self._stop_asked.set()

    @property
    def _run_folder(self) -> Path:
        return self.settings.data_dir / "run"

    # -- start, in order ------------------------------------------------------------------------------------------

    def _start(self) -> None:
        settings = self.settings
        lock = DataLock(settings.data_dir)
        lock.acquire()
        self._parts.append(("lock", lambda _: lock.release()))
        segments = settings.data_dir / "segments"
        for folder in (segments, self._run_folder):
            folder.mkdir(exist_ok=True, mode=0o700)
        check_settings(settings, with_web=self._with_web)
        if self._with_web:
            self._try_web_port()
        metrics.forget_earlier_runs()
        keyring = Keyring.open(settings, create=True)
        self.created_key = keyring.created
        cloud = make_cloud(settings)
        context = open_forkserver()
        around = self._surround(keyring, segments, cloud, context)
        self.around = around
        self._start_heartbeat()
        are_alone = wait_for_old_children(segments, self._clock, OLD_CHILDREN_S)
        if not are_alone:
            log.warning("old_children_live")
        self._arrivals = Arrivals(around)
        self._start_receivers(self._arrivals, segments, context)
        touched = self._recover_all(around, self._arrivals, are_alone) if self._recover else set()
        outage = self._check_cloud(cloud)
        self._start_workers(around.pool)
        self._start_actors(around, touched)
        self._tell_outage(around, outage)
        if self._with_web:
            self._start_web(around, context)
        self._arrivals.open_doors()
        self._parts.append(("doors", lambda _: self._close_doors()))
        self._is_ready = True
        self._beat()

    def _surround(
        self, keyring: Keyring, segments: Path, cloud: Cloud | None, context: ForkServerContext
    ) -> Surroundings:
        settings = self.settings
        writer = Writer(settings.data_dir, keyring)
        writer.start()
        self._parts.append(("writer", writer.stop))
        reads = Reads()
        self._parts.append(("reads", lambda _: reads.stop()))
        timer = Timer(self._clock)
        timer.start()
        self._parts.append(("timer", timer.stop))
        workers = settings.qc.workers or os.cpu_count() or 1
        logs = (settings.log.level, settings.log.format)
        self._pool = WorkerPool(workers, context, warm_worker, (settings.data_dir / "cache" / "numba",), logs=logs)
        return Surroundings(
            settings=settings, clock=self._clock, keyring=keyring, study_keys=StudyKeys(writer, keyring), writer=writer,
            read=reads, segments=segments, traffic=Traffic(self._clock), timer=timer, post=Post(), pool=self._pool,
            cloud=cloud, gate=KeyGate(), forget_key=self._forget_key,
        )  # fmt: skip

    def _forget_key(self, study_uid: str) -> bool:
        return self._receivers is None or self._receivers.forget_study(study_uid)

    def _start_receivers(self, arrivals: Arrivals, segments: Path, context: ForkServerContext) -> None:
        receivers = ReceiverPool(self.settings, segments, context, arrivals)
        self._receivers = receivers
        receivers.start()
        self._parts.append(("receivers", receivers.stop))

    def _recover_all(self, around: Surroundings, arrivals: Arrivals, are_alone: bool) -> set[str]:
        """Index what an earlier run left in segments; end its associations; queue its jobs again."""
        at = self._clock.timestamp()
        report, touched = arrivals.recover_all()
        around.writer.run(lambda: associations.lose_open(at))
        around.writer.run(lambda: jobs.requeue_running(at))
        around.writer.run(notices.release_claimed)
        if are_alone and not report.damaged:  # a record that could not be read may name a key that no study has yet
            around.study_keys.discard_leftovers()
        if report.found or report.torn or report.damaged:
            log.warning("recovered", found=report.found, torn=report.torn, damaged=report.damaged)
        return touched

    def _start_workers(self, pool: WorkerPool) -> None:
        pool.start()
        self._parts.append(("workers", lambda left_s: pool.stop(min(left_s, WORKERS_S))))

    def _start_actors(self, around: Surroundings, touched: set[str]) -> None:
        house = House(around)
        house.start()
        self._parts.append(("actors", house.stop))
        for study_id in touched:
            around.post.study(study_id, InstancesArrived(new=1))

    def _check_cloud(self, cloud: Cloud | None) -> CloudError | None:
        """A cloud that refuses stops the start, before any order is tried; one that cannot be reached does not.

        Raises
        ------
        ConfigError
            When waiting will not help: bucket, credentials, clock.
        """
        if cloud is None:
            return None
        asking = ThreadPoolExecutor(1, "cloud-check")
        try:
            asking.submit(cloud.check).result(CLOUD_CHECK_S)
        except TimeoutError:
            return CloudError("The cloud does not answer.", hint="Check the network and cloud.endpoint_url.")
        except Permanent as error:
            raise ConfigError(error.message, code=error.code, hint=error.hint) from error
        except CloudError as error:
            return error
        finally:
            asking.shutdown(wait=False)
        return None

    def _tell_outage(self, around: Surroundings, outage: CloudError | None) -> None:
        if outage is not None:
            around.alarm("cloud", "error", outage.message, outage.hint)
        elif around.cloud is not None:
            around.clear("cloud")

    def _start_web(self, around: Surroundings, context: ForkServerContext) -> None:
        (self._run_folder / "web.json").unlink(missing_ok=True)

        def alarm(is_down: bool) -> None:
            if is_down:
                around.alarm("web", "error", "The dashboard ends again and again.", "The log has the cause.")
            else:
                around.clear("web")

        web = WebProcess(self.settings, context, self._clock, alarm)
        self._web = web
        web.start()
        self._parts.append(("web", web.stop))

    def _try_web_port(self) -> None:
        """Refuse a port that is taken now, and not when images already come in."""
        from agent.web.server import try_address

        wait_for_port(lambda: try_address(self.settings.web), self._clock, OLD_WEB_S)

    def _close_doors(self) -> None:
        if self._arrivals is not None:
            self._arrivals.close_doors()

    # -- heartbeat ------------------------------------------------------------------------------------------------

    def _start_heartbeat(self) -> None:
        stopping = threading.Event()
        thread = threading.Thread(target=self._heart, args=(stopping,), name="heartbeat", daemon=True)
        thread.start()

        def stop(timeout_s: float) -> None:
            stopping.set()
            thread.join(timeout_s)
            self._beat()

        self._parts.append(("heartbeat", stop))

    def _heart(self, stopping: threading.Event) -> None:
        """Thread main."""
        known: set[int] = set()
        while not stopping.is_set():
            known = self._forget_dead(known)
            self._beat()
            self._clock.wait(stopping, HEARTBEAT_S)

    def _forget_dead(self, known: set[int]) -> set[int]:
        alive = {pid for pids in self.pids().values() for pid in pids}
        for pid in known - alive:
            metrics.forget_process(pid)
        return alive

    def _beat(self) -> None:
        """Write ``run/ready.json``: what the probes of the dashboard read."""
        pids = self.pids()
        body = {
            "ready": self._is_ready, "at": self._clock.timestamp(), "dicom_port": self.dicom_port,
            "receivers": len(pids["receiver"]), "workers": len(pids["worker"]), "processes": pids,
        }  # fmt: skip
        path = self._run_folder / "ready.json"
        fresh = path.with_suffix(f".{threading.get_ident()}")
        with contextlib.suppress(OSError):
            fresh.write_text(json.dumps(body), encoding="utf-8")
            fresh.replace(path)


def make_cloud(settings: Settings) -> Cloud | None:
    """Return the cloud of the settings; None when studies rest at QC Passed.

    Raises
    ------
    ConfigError
        When its settings do not fit.
    """
    if settings.cloud.adapter == "none":
        return None
    from agent.cloud.s3 import S3Cloud

    return S3Cloud(settings.cloud)


def dump_threads(number: int = 0, frame: FrameType | None = None) -> None:
    """Write the stack of every thread with its name to stderr; what SIGUSR1 does."""
    del number, frame
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    for ident, stack in sys._current_frames().items():  # noqa: SLF001 - the only way to name the threads
        sys.stderr.write(f"--- thread {names.get(ident, ident)}\n{''.join(traceback.format_stack(stack))}")
    sys.stderr.flush()
