"""The worker processes and the seats before them.

Job: run functions in worker processes, hand each result to a callback, survive workers that die. When one worker dies
every queued future of the executor fails: the pool builds a new one and submits the suspects again one at a time, so
that only the task that killed a worker is charged; a task that kills two workers fails. Place: built by ``engine``;
the dispatcher of quality control and the uploader submit. It must never queue without bound: ``free_seats`` says how
much more it takes.
"""

from __future__ import annotations

import os
import signal
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from multiprocessing import parent_process
from multiprocessing.connection import wait as wait_for_sentinels
from multiprocessing.context import BaseContext, ForkServerContext, ForkServerProcess
from typing import Any, Generic, TypeVar

from agent import metrics
from agent.errors import AgentError
from agent.logs import configure_logs, get_logger

T = TypeVar("T")
R = TypeVar("R")

log = get_logger("pool")

DEATHS_MAX = 2


class WorkerDied(AgentError):
    """A task ended the worker process it ran in, twice."""

    default_code = "worker_died"


class PoolClosed(AgentError):
    """The pool stops and takes no more work."""

    default_code = "pool_closed"


class ChildProcess(ForkServerProcess):
    """A process that does not hear SIGTERM, which service managers send to everybody: who ends it must kill it."""

    def terminate(self) -> None:
        """End it; what the executor calls when another worker died."""
        self.kill()


class ChildContext(ForkServerContext):
    """Where the engine's children come from."""

    Process = ChildProcess


@dataclass(slots=True)
class _Task(Generic[R]):
    function: Callable[[Any], R]
    argument: Any
    future: Future[R] = field(default_factory=Future)
    deaths: int = 0
    generation: int = -1


def begin_worker(initializer: Callable[..., None] | None, arguments: tuple[Any, ...], logs: tuple[str, str]) -> None:
    """Initialise a worker process: deaf to Ctrl-C, gone when its parent is gone, then warm.

    A worker in mid-job outlives kill -9 of the engine unless a thread of its own watches the parent.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    configure_logs(*logs)
    threading.Thread(target=end_with_parent, name="parent-watch", daemon=True).start()
    if initializer is not None:
        initializer(*arguments)


def end_with_parent(grace_s: float = 0.0) -> None:
    """Thread main: end this process when its parent has ended."""
    parent = parent_process()
    if parent is not None:
        wait_for_sentinels([parent.sentinel])
        threading.Event().wait(grace_s)
        os._exit(1)


class WorkerPool:
    """Worker processes behind seats.

    Parameters
    ----------
    workers : int
        Processes.
    context : multiprocessing context
        Where they come from (a forkserver).
    initializer : callable, optional
        Runs once in each worker, after the pool's own preparations.
    initializer_arguments : tuple
        Its arguments.
    logs : tuple of str
        Level and format of the workers' logs.
    seats : int, optional
        Tasks accepted at once; four a worker when omitted.
    """

    def __init__(
        self,
        workers: int,
        context: BaseContext,
        initializer: Callable[..., None] | None = None,
        initializer_arguments: tuple[Any, ...] = (),
        *,
        logs: tuple[str, str] = ("info", "console"),
        seats: int | None = None,
    ) -> None:
        self.workers = workers
        self._context = context
        self._initializer = (initializer, initializer_arguments, logs)
        self._seats = seats or workers * 4
        self._lock = threading.RLock()
        self._backlog: deque[_Task[Any]] = deque()
        self._suspects: deque[_Task[Any]] = deque()
        self._running: set[int] = set()
        self._tasks: dict[int, _Task[Any]] = {}
        self._generation = 0
        self._broken = -1  # the generation whose end is being sorted out
        self._died_alone = False
        self._is_trying = False  # a suspect runs: nothing may run beside it
        self._executor: ProcessPoolExecutor | None = None
        self._closed = False

    @property
    def free_seats(self) -> int:
        """How many more tasks the pool takes now."""
        with self._lock:
            return 0 if self._closed else max(0, self._seats - len(self._tasks))

    def pids(self) -> list[int]:
        """Return the process ids of the workers alive."""
        with self._lock:
            processes = getattr(self._executor, "_processes", None) or {}
            return [pid for pid, process in list(processes.items()) if process.is_alive()]

    def start(self) -> None:
        """Start the worker processes, so that the first task finds a warm one."""
        with self._lock:
            self._executor = self._build()
            for _ in range(self.workers):
                self._executor.submit(os.getpid)

    def submit(self, function: Callable[[T], R], argument: T) -> Future[R]:
        """Queue ``function(argument)``; both must be picklable.

        Returns
        -------
        Future
            Ends with the result, with the exception the function raised, or with :class:`WorkerDied`. Its callbacks
            run in a thread of the pool and must only tell.

        Raises
        ------
        PoolClosed
            When the pool has been stopped.
        """
        task: _Task[R] = _Task(function, argument)
        with self._lock:
            if self._closed:
                raise PoolClosed("The worker pool is stopping.")
            self._tasks[id(task)] = task
            self._backlog.append(task)
            self._feed()
        return task.future

    def stop(self, timeout_s: float) -> None:
        """Take nothing more, give running tasks `timeout_s` to end, then end the workers."""
        with self._lock:
            self._closed = True
            tasks, running = list(self._tasks.values()), set(self._running)
            self._backlog.clear()
            self._suspects.clear()
            executor, self._executor = self._executor, None
        for task in tasks:
            if id(task) not in running and not task.future.done():
                task.future.set_exception(PoolClosed("The worker pool is stopping."))
        wait([task.future for task in tasks], timeout_s)
        if executor is not None:
            processes = list((getattr(executor, "_processes", None) or {}).values())
            executor.shutdown(wait=False, cancel_futures=True)
            for process in processes:
                process.join(min(1.0, timeout_s))
                if process.is_alive():
                    process.kill()
                    process.join(1.0)

    # -- inside, under the lock -----------------------------------------------------------------------------------

    def _build(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(
            self.workers, mp_context=self._context, initializer=begin_worker, initargs=self._initializer
        )

    def _feed(self) -> None:
        """Hand tasks over: suspects alone, the others as many as there are workers and one ahead."""
        while not self._closed and self._broken != self._generation:
            if self._suspects:
                if self._running:
                    return
                queue = self._suspects
            elif self._backlog and len(self._running) <= self.workers and not self._is_trying:
                queue = self._backlog
            else:
                return
            self._is_trying = queue is self._suspects
            task = queue.popleft()
            if not self._hand_over(task):
                queue.appendleft(task)
                return

    def _hand_over(self, task: _Task[Any]) -> bool:
        assert self._executor is not None
        task.generation = self._generation
        try:
            inner = self._executor.submit(task.function, task.argument)
        except BrokenProcessPool:  # a worker died while nobody worked, or the news is still on its way
            if self._running:
                return False
            self._rebuild()
            return self._hand_over(task)
        self._running.add(id(task))
        inner.add_done_callback(lambda done: self._ended(task, done))
        return True

    def _rebuild(self) -> None:
        metrics.RESTARTS.labels("worker").inc()
        log.warning("worker_pool_rebuilt", suspects=len(self._suspects))
        broken, self._executor = self._executor, None
        self._generation += 1
        self._executor = self._build()
        if broken is not None:
            broken.shutdown(wait=False, cancel_futures=True)

    # -- in a thread of the executor ------------------------------------------------------------------------------

    def _ended(self, task: _Task[Any], inner: Future[Any]) -> None:
        error = None if inner.cancelled() else inner.exception()
        with self._lock:
            if isinstance(error, BrokenProcessPool) and not self._closed:
                error = self._died(task)
                if error is None:
                    return
            else:
                self._running.discard(id(task))
                self._is_trying = self._is_trying and bool(self._running)
                if inner.cancelled() or isinstance(error, BrokenProcessPool):
                    error = PoolClosed("The worker pool is stopping.")
            self._tasks.pop(id(task), None)
            self._feed()
        if task.future.done():
            return
        if error is not None:
            task.future.set_exception(error)
        else:
            task.future.set_result(inner.result())

    def _died(self, task: _Task[Any]) -> WorkerDied | None:
        """Sort out a task whose executor broke: the culprit, or one that sat beside it."""
        if self._broken != self._generation:
            self._broken = self._generation
            self._died_alone = len(self._running) == 1
        self._running.discard(id(task))
        task.deaths += 1 if self._died_alone else 0
        is_guilty = task.deaths >= DEATHS_MAX
        if not is_guilty:
            self._suspects.append(task)
        if not self._running:
            self._is_trying = False
            self._rebuild()
            self._feed()
        return WorkerDied("A task ended its worker process twice.") if is_guilty else None
