"""Orders in the cloud, until their result is here.

Job: ask for the status of each order, pass on progress, fetch and store what the analysis returns, give up after the
timeout. Place: told by studies; looks in a thread of its own when the timer says so. It must never say that a report
is stored before its files are committed.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import assert_never

from agent.actors.base import BaseActor
from agent.actors.surroundings import Surroundings
from agent.cloud.contract import Cloud, OrderPhase
from agent.errors import CloudError, Permanent
from agent.messages import (
    Begin,
    ForgetOrder,
    OrderAccepted,
    OrderBroke,
    Poll,
    ReportStored,
    WakeAll,
    WatcherMessage,
    WatchOrder,
)
from agent.store import reports, studies
from agent.store.reports import NewReport


@dataclass(slots=True)
class _Watched:
    order: WatchOrder
    progress: int = -1
    is_over: bool = False


class ResultWatcher(BaseActor[WatcherMessage]):
    """Follows orders.

    Parameters
    ----------
    around : Surroundings
        What every actor is given.
    """

    kind = "watcher"

    def __init__(self, around: Surroundings, on_crash: Callable[[], None]) -> None:
        super().__init__(on_crash)
        self._around = around
        self._orders: dict[str, _Watched] = {}
        self._thread = ThreadPoolExecutor(1, "results")
        self._is_looking = False
        self._has_problem = False

    def begin(self) -> None:
        """Have the studies ask again for their orders."""
        self._around.post.registry(WakeAll())

    def receive(self, message: WatcherMessage) -> None:
        """Note orders; look when it is time."""
        match message:
            case Begin():
                pass
            case WatchOrder(order_id=order_id):
                self._orders.setdefault(order_id, _Watched(message)).is_over = False
            case ForgetOrder(order_id):
                self._orders.pop(order_id, None)
            case Poll():
                self._look()
            case _ as never:
                assert_never(never)

    def on_stop(self) -> None:
        """End the thread."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _look(self) -> None:
        self._orders = {o: w for o, w in self._orders.items() if not w.is_over}
        if self._orders and not self._is_looking and self._around.cloud is not None:
            self._is_looking = True
            self._thread.submit(self._look_at, list(self._orders.values()), self._around.cloud)

    def _look_at(self, orders: list[_Watched], cloud: Cloud) -> None:
        """Ask for every order; in the watcher's thread."""
        try:
            for watched in orders:
                try:
                    self._ask(watched, cloud)
                except CloudError as error:
                    self._cope(watched, error)
                except Exception:
                    self.log.exception("result_failed", study=watched.order.study_id)
        finally:
            self._is_looking = False

    def _ask(self, watched: _Watched, cloud: Cloud) -> None:
        order, post = watched.order, self._around.post
        status = cloud.read_status(order.order_id)
        if self._has_problem:
            self._has_problem = False
            self._around.clear("cloud_results")
        if status is not None and status.phase is OrderPhase.DONE:
            self._fetch(order, cloud)
            watched.is_over = True
            post.study(order.study_id, ReportStored(order.revision, order.order_id))
        elif status is not None and status.phase is OrderPhase.FAILED:
            failure = cloud.read_failure(order.order_id)
            watched.is_over = True
            self._broke(order, failure.category, f"{failure.description} {failure.remediation}")
        elif self._around.clock.timestamp() - order.since > self._around.settings.cloud.result_timeout_s:
            watched.is_over = True
            self._broke(order, "result_timeout", "The analysis gave no result within the time allowed.")
        elif status is not None:
            if watched.progress < 0:
                post.study(order.study_id, OrderAccepted(order.revision, order.order_id))
            if status.progress != watched.progress:
                watched.progress = status.progress
                self._around.writer.submit(
                    lambda: studies.update_progress(order.study_id, order.revision, cloud_progress=status.progress)
                )

    def _fetch(self, order: WatchOrder, cloud: Cloud) -> None:
        files = cloud.fetch_results(order.order_id)
        at = self._around.clock.timestamp()

        def store() -> None:
            for file in files:
                report = NewReport(order.order_id, file.name, file.media_type, file.data)
                reports.store_report(order.study_id, order.revision, report, at)

        self._around.write(store)

    def _cope(self, watched: _Watched, error: CloudError) -> None:
        """A result that breaks the contract fails the study; a cloud that cannot be used is an alarm."""
        if isinstance(error, Permanent) and error.code.startswith("result"):
            watched.is_over = True
            self._broke(watched.order, error.code, str(error))
        else:
            self._has_problem = True
            self._around.alarm("cloud_results", "warning", error.message, error.hint)

    def _broke(self, order: WatchOrder, code: str, text: str) -> None:
        self._around.post.study(order.study_id, OrderBroke(order.revision, order.order_id, code, text))
