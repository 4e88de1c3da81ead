"""Uploads: which orders run, which are void.

Job: run the upload jobs of studies in a few threads, one order at a time for each; stop, pause and cancel them;
declare void orders void in the cloud. Place: told by studies; the work is in ``orders``. It must never start an order
twice, and never answer a study before the manifest is in place.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import assert_never

from agent.actors.base import BaseActor
from agent.actors.orders import OrderRun
from agent.actors.surroundings import Surroundings
from agent.cloud.faults import SITE_FAULTS
from agent.cloud.upload import Halt, UploadOutcome
from agent.errors import AgentError, CloudError, DeidError
from agent.messages import (
    Begin,
    CancelOrder,
    LookAgain,
    PauseOrder,
    UploadBroke,
    UploadEnded,
    UploaderMessage,
    UploadFinished,
    UploadStudy,
    WakeAll,
)
from agent.pool import PoolClosed
from agent.store import jobs
from agent.store.jobs import JobRow
from agent.study import FailedStep

ORDERS_AT_ONCE = 2
VOID_RETRY_S = 30.0


class Uploader(BaseActor[UploaderMessage]):
    """Runs upload jobs.

    Parameters
    ----------
    around : Surroundings
        What every actor is given.
    """

    kind = "uploader"

    def __init__(self, around: Surroundings, on_crash: Callable[[], None]) -> None:
        super().__init__(on_crash)
        self._around = around
        self._running: dict[str, Halt] = {}
        self._again: dict[str, UploadStudy] = {}
        self._threads = ThreadPoolExecutor(ORDERS_AT_ONCE, "order")
        self._void_threads = ThreadPoolExecutor(1, "void-order")

    def begin(self) -> None:
        """Tell of void orders again, and have the studies ask again."""
        self._around.post.registry(WakeAll())
        self._tell_void()

    def receive(self, message: UploaderMessage) -> None:
        """Start, stop, note."""
        match message:
            case Begin():
                pass
            case UploadStudy():
                self._start(message)
            case PauseOrder(order_id):
                self._again.pop(order_id, None)
                if order_id in self._running:
                    self._running[order_id].stop()
            case CancelOrder(order_id):
                self._again.pop(order_id, None)
                if order_id in self._running:
                    self._running[order_id].cancel()
                self._tell_void()
            case UploadEnded(order_id):
                self._running.pop(order_id, None)
                again = self._again.pop(order_id, None)
                if again is not None:
                    self._start(again)
            case _ as never:
                assert_never(never)

    def on_stop(self) -> None:
        """Stop the transfers; their orders go on after the next start."""
        self._halt_all()

    def on_failure(self, *arguments: object) -> None:
        """Stop the transfers: the next uploader is asked for them again."""
        self._halt_all()
        super().on_failure(*arguments)  # type: ignore[arg-type]

    def _halt_all(self) -> None:
        for halt in self._running.values():
            halt.stop()
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._void_threads.shutdown(wait=False, cancel_futures=True)

    # -- orders ---------------------------------------------------------------------------------------------------

    def _start(self, wanted: UploadStudy) -> None:
        if self._around.cloud is None:
            return
        living = self._around.read(lambda: jobs.living_jobs(wanted.study_id, "upload"))
        job = next((j for j in living if j.revision == wanted.revision and "void" not in j.body), None)
        if job is None or job.order_id is None:
            return
        running = self._running.get(job.order_id)
        if running is not None:
            if running.event.is_set():
                self._again[job.order_id] = wanted
            return
        halt = self._running[job.order_id] = Halt()
        self._threads.submit(self._run, job, job.order_id, halt)

    def _run(self, job: JobRow, order_id: str, halt: Halt) -> None:
        """Thread main of one order."""
        try:
            self._upload(job, order_id, halt)
        except PoolClosed:
            pass  # the agent stops; the order goes on after the next start
        except DeidError as error:
            self._broke(job, order_id, FailedStep.DEID, error)
        except CloudError as error:
            if error.code in SITE_FAULTS:
                self._wait_for_the_site(job, error)
            else:
                self._around.clear("cloud")
                self._broke(job, order_id, FailedStep.UPLOAD, error)
        except AgentError as error:
            self._broke(job, order_id, FailedStep.UPLOAD, error)
        except Exception:
            self.log.exception("upload_failed", study=job.study_id)
            text = AgentError("The upload failed inside the agent; the log has the cause.", code="upload_internal")
            self._broke(job, order_id, FailedStep.UPLOAD, text)
        finally:
            self._around.post.uploader(UploadEnded(order_id))

    def _upload(self, job: JobRow, order_id: str, halt: Halt) -> None:
        around = self._around
        at = around.clock.timestamp()
        if halt.event.is_set() or around.write(lambda: jobs.claim(job.id, at)) is None:
            return
        self.log.info("upload_started", study=job.study_id, order=order_id)
        outcome = OrderRun(around, job).run(halt)
        self.log.info("upload_ended", study=job.study_id, order=order_id, outcome=outcome.value)
        if outcome is UploadOutcome.COMMITTED:
            around.post.study(job.study_id, UploadFinished(job.revision, order_id))
        elif outcome is UploadOutcome.STOPPED:
            later = around.clock.timestamp()
            around.write(lambda: jobs.reschedule(job.id, later, None, later))

    def _wait_for_the_site(self, job: JobRow, error: CloudError) -> None:
        """Try again later: not the study is at fault but the access to the cloud, of which the alarm tells."""
        around = self._around
        self.log.warning("upload_waits", study=job.study_id, code=error.code)
        pause_s = around.settings.cloud.retry_max_s
        at = around.clock.timestamp()
        around.write(lambda: jobs.reschedule(job.id, at + pause_s, error.code, at))
        around.timer.after(pause_s, lambda: around.post.study(job.study_id, LookAgain()))

    def _broke(self, job: JobRow, order_id: str, step: FailedStep, error: AgentError) -> None:
        self.log.warning("upload_broke", study=job.study_id, step=step.value, code=error.code)
        self._around.post.study(job.study_id, UploadBroke(job.revision, order_id, step, error.code, str(error)))

    # -- void orders ----------------------------------------------------------------------------------------------

    def _tell_void(self) -> None:
        now = self._around.clock.timestamp()
        for job in self._around.read(lambda: jobs.due_jobs(now, "upload")):
            if "void" in job.body and job.order_id:
                self._void_threads.submit(self._void, job)

    def _void(self, job: JobRow) -> None:
        """Tell the cloud that an order is void; later when it cannot be reached."""
        around = self._around
        at = around.clock.timestamp()
        if around.cloud is None or job.order_id is None or around.write(lambda: jobs.claim(job.id, at)) is None:
            return
        try:
            around.cloud.put_cancel(job.order_id, str(job.body["void"]))
        except CloudError as error:
            code, later = error.code, around.clock.timestamp() + VOID_RETRY_S
            around.write(lambda: jobs.reschedule(job.id, later, code, at))
            around.timer.after(VOID_RETRY_S, lambda: around.post.uploader(CancelOrder("")))
            return
        except Exception:
            self.log.exception("void_failed", study=job.study_id)
            return
        around.write(lambda: jobs.finish(job.id, around.clock.timestamp()))
