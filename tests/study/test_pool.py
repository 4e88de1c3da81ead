"""The worker pool: results, deaths, seats, the end."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from agent.pool import PoolClosed, WorkerDied, WorkerPool
from tests.study.agents import wait_until


def double(number: int) -> int:
    return number * 2


def die(number: int) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return number


def die_once(marker: str) -> str:
    path = Path(marker)
    if not path.exists():
        path.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return "survived"


def fail(number: int) -> int:
    raise ValueError(number)


def stay(seconds: float) -> None:
    threading.Event().wait(seconds)


@pytest.fixture
def pool() -> Iterator[WorkerPool]:
    made = WorkerPool(2, multiprocessing.get_context("forkserver"))
    made.start()
    yield made
    made.stop(1)


def test_results_and_exceptions_come_back(pool: WorkerPool) -> None:
    futures = [pool.submit(double, n) for n in range(20)]
    assert [f.result(60) for f in futures] == [n * 2 for n in range(20)]
    with pytest.raises(ValueError, match="7"):
        pool.submit(fail, 7).result(60)
    assert pool.free_seats == 8


def test_a_task_that_kills_its_worker_twice_fails_and_its_neighbours_do_not(pool: WorkerPool) -> None:
    futures = [pool.submit(die if n == 5 else double, n) for n in range(12)]
    for number, future in enumerate(futures):
        if number == 5:
            with pytest.raises(WorkerDied):
                future.result(60)
        else:
            assert future.result(60) == number * 2
    assert pool.submit(double, 1).result(60) == 2


def test_two_culprits_are_both_found(pool: WorkerPool) -> None:
    futures = {n: pool.submit(die if n in (2, 3) else double, n) for n in range(8)}
    for number, future in futures.items():
        if number in (2, 3):
            with pytest.raises(WorkerDied):
                future.result(60)
        else:
            assert future.result(60) == number * 2


def test_a_worker_that_dies_once_costs_the_task_nothing(pool: WorkerPool, tmp_path: Path) -> None:
    assert pool.submit(die_once, str(tmp_path / "died")).result(60) == "survived"


def test_a_worker_killed_while_it_is_idle_is_replaced(pool: WorkerPool) -> None:
    assert pool.submit(double, 4).result(60) == 8
    for pid in wait_until(pool.pids, "workers"):
        os.kill(pid, signal.SIGKILL)
    assert pool.submit(double, 5).result(60) == 10


def test_the_end_does_not_wait_for_a_long_task(pool: WorkerPool) -> None:
    waiting = [pool.submit(stay, 300.0) for _ in range(7)]
    pool.stop(0.2)
    assert not pool.pids()
    with pytest.raises(PoolClosed):
        waiting[-1].result(5)
    with pytest.raises(PoolClosed):
        pool.submit(double, 1)
