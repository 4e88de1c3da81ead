"""Quality control by worker processes.

Job: have the instances of studies measured, in batches, while they arrive; when a study is Stable measure what is
left, then have it judged; store what comes back. Place: told by studies, hands tasks to the pool; the callbacks of
the pool store the rows and tell this actor. It must never queue more than the pool has seats, and no answer for an
old revision may do harm.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import assert_never

from agent import metrics
from agent.actors.base import BaseActor
from agent.actors.study.evidence import unmet_sentences
from agent.actors.surroundings import Surroundings
from agent.errors import AgentError
from agent.messages import (
    BatchMeasured,
    Begin,
    JudgementDone,
    JudgeStudy,
    MeasureStudy,
    QcBroke,
    QcJudged,
    QcMessage,
    WakeAll,
)
from agent.qc.judge_worker import JudgedStudy, JudgeTask, judge_objects
from agent.qc.measurement import MEASURE_CODE
from agent.qc.worker import MeasureTask, measure_objects
from agent.store import measurements, reports, studies
from agent.store.objects import ObjectRef
from agent.store.reports import QcReportRecord

BATCH = 16
SEATS_A_WORKER = 2


@dataclass(slots=True)
class _Order:
    revision: int
    since: float


@dataclass(slots=True)
class _Work:
    """One study the dispatcher is busy with."""

    in_flight: set[int] = field(default_factory=set)
    hopeless: set[int] = field(default_factory=set)  # instances whose batch killed workers
    judge: _Order | None = None
    judging: bool = False
    dirty: bool = True  # rows may hold instances that nobody has looked at


class QcDispatcher(BaseActor[QcMessage]):
    """Feeds the pool with measurements and judgements.

    Parameters
    ----------
    around : Surroundings
        What every actor is given.
    """

    kind = "qc"

    def __init__(self, around: Surroundings, on_crash: Callable[[], None]) -> None:
        super().__init__(on_crash)
        self._around = around
        self._work: OrderedDict[str, _Work] = OrderedDict()
        self._tasks = 0

    def begin(self) -> None:
        """Have the studies ask again: what an earlier life was told is lost."""
        self._around.post.registry(WakeAll())

    def receive(self, message: QcMessage) -> None:
        """Note what is wanted, note what is done, feed the pool."""
        match message:
            case Begin():
                pass
            case MeasureStudy(study_id):
                self._work.setdefault(study_id, _Work()).dirty = True
            case JudgeStudy(study_id, revision, since):
                self._want_judgement(study_id, _Order(revision, since))
            case BatchMeasured(study_id, instance_ids, failed):
                self._note_batch(study_id, instance_ids, failed)
            case JudgementDone():
                self._note_judgement(message)
            case _ as never:
                assert_never(never)
        self._feed()

    # -- what is wanted and done ----------------------------------------------------------------------------------

    def _want_judgement(self, study_id: str, order: _Order) -> None:
        report = self._around.read(lambda: reports.read_qc_report(study_id, order.revision))
        if report is not None and report.created_at >= order.since:
            self._around.post.study(study_id, QcJudged(order.revision))
            return
        work = self._work.setdefault(study_id, _Work())
        work.dirty = True
        if work.judge is None or work.judge.revision <= order.revision:
            work.judge = order
        self._work.move_to_end(study_id, last=False)  # the one a person waits for goes first

    def _note_batch(self, study_id: str, instance_ids: tuple[int, ...], failed: str) -> None:
        self._tasks -= 1
        work = self._work.get(study_id)
        if work is None:
            return
        work.in_flight.difference_update(instance_ids)
        if failed:
            work.hopeless.update(instance_ids)

    def _note_judgement(self, message: JudgementDone) -> None:
        self._tasks -= 1
        work = self._work.get(message.study_id)
        if work is not None:
            work.judging = False
            if work.judge is not None and work.judge.revision == message.revision:
                work.judge = None
        if message.code:
            self._around.post.study(message.study_id, QcBroke(message.revision, message.code, message.text))
        else:
            self._around.post.study(message.study_id, QcJudged(message.revision))

    # -- feeding --------------------------------------------------------------------------------------------------

    def _feed(self) -> None:
        for study_id in list(self._work):
            if not self._has_seat():
                return
            self._feed_study(study_id, self._work[study_id])

    def _feed_study(self, study_id: str, work: _Work) -> None:
        if work.judging:
            return
        if work.dirty and self._measure(study_id, work):
            return
        if work.in_flight:
            return
        if work.judge is None:
            del self._work[study_id]
        else:
            self._judge(study_id, work, work.judge)

    def _measure(self, study_id: str, work: _Work) -> bool:
        """Hand over batches; True while something is left for which there was no seat."""
        missing = [
            row.ref()
            for row in self._around.read(lambda: measurements.missing_measurements(study_id, MEASURE_CODE))
            if row.id not in work.in_flight and row.id not in work.hopeless
        ]
        for start in range(0, len(missing), BATCH):
            if not self._has_seat():
                return True
            self._submit_batch(study_id, work, tuple(missing[start : start + BATCH]))
        work.dirty = False
        return False

    def _has_seat(self) -> bool:
        """Whether one more task may be under way; its end always wakes this actor."""
        return self._tasks < SEATS_A_WORKER * self._around.pool.workers

    def _secrets(self, refs: tuple[ObjectRef, ...]) -> dict[str, bytes]:
        return self._around.read(lambda: self._around.study_keys.secrets_for({ref.key_id for ref in refs}))

    def _submit_batch(self, study_id: str, work: _Work, refs: tuple[ObjectRef, ...]) -> None:
        ids = tuple(ref.instance_id for ref in refs)
        task = MeasureTask(self._around.segments, self._secrets(refs), refs)
        work.in_flight.update(ids)
        self._tasks += 1
        future = self._around.pool.submit(measure_objects, task)
        future.add_done_callback(lambda done: self._store_batch(study_id, ids, done))

    def _store_batch(self, study_id: str, ids: tuple[int, ...], done: Future[list[tuple[int, str, str]]]) -> None:
        """Store a batch and tell the actor; in a thread of the pool."""
        error = done.exception()
        if error is not None:
            code = error.code if isinstance(error, AgentError) else "qc_measure_failed"
            self.log.warning("measurement_failed", study=study_id, images=len(ids), code=code)
            self._around.post.qc(BatchMeasured(study_id, ids, code))
            return
        rows = done.result()
        metrics.MEASURED_IMAGES.inc(len(rows))
        stored = self._around.writer.submit(lambda: _store_measurements(study_id, rows))
        stored.add_done_callback(
            lambda f: self._around.post.qc(BatchMeasured(study_id, ids, "qc_store_failed" if f.exception() else ""))
        )

    def _judge(self, study_id: str, work: _Work, order: _Order) -> None:
        row = self._around.read(lambda: studies.read_study(study_id))
        if row is None or row.deleted or row.revision != order.revision:
            work.judge = None
            return
        instances = self._around.read(lambda: studies.read_instances(study_id, up_to_revision=order.revision))
        bodies = self._around.read(lambda: measurements.read_measurements(study_id, MEASURE_CODE))
        refs = tuple(instance.ref() for instance in instances)
        task = JudgeTask(
            segments=self._around.segments,
            secrets=self._secrets(refs),
            objects=refs,
            measurements=tuple(bodies[i.id] for i in instances if i.id in bodies),
            profiles=self._around.settings.qc.profiles,
            profile=None,
            incomplete=unmet_sentences(row.completeness_json),
        )
        self._around.writer.submit(lambda: studies.update_progress(study_id, order.revision, qc_done=len(bodies)))
        work.judging = True
        self._tasks += 1
        started = self._around.clock.monotonic()
        future = self._around.pool.submit(judge_objects, task)
        future.add_done_callback(lambda done: self._store_judgement(study_id, order.revision, started, done))

    def _store_judgement(self, study_id: str, revision: int, started: float, done: Future[JudgedStudy]) -> None:
        """Store a report and tell the actor; in a thread of the pool."""
        error = done.exception()
        if error is not None:
            code = error.code if isinstance(error, AgentError) else "qc_internal"
            text = error.message if isinstance(error, AgentError) else "Quality control could not judge the study."
            self.log.error("judgement_failed", study=study_id, code=code, exc_info=error)
            self._around.post.qc(JudgementDone(study_id, revision, code, text))
            return
        judged = done.result()
        metrics.QC_SECONDS.observe(self._around.clock.monotonic() - started)
        metrics.QC_VERDICTS.labels(judged.report.verdict).inc()
        report = judged.report
        record = QcReportRecord(
            0, study_id, revision, report.verdict, report.score, report.profile, json.dumps(report.to_record()),
            self._around.clock.timestamp(),
        )  # fmt: skip
        stored = self._around.writer.submit(lambda: reports.store_qc_report(record, judged.pictures))
        stored.add_done_callback(lambda f: self._around.post.qc(_stored(study_id, revision, f.exception())))


def _stored(study_id: str, revision: int, error: BaseException | None) -> JudgementDone:
    if error is None:
        return JudgementDone(study_id, revision)
    return JudgementDone(study_id, revision, "qc_store_failed", "The quality report could not be stored.")


def _store_measurements(study_id: str, rows: list[tuple[int, str, str]]) -> None:
    measurements.store_measurements(study_id, rows)
    row = studies.read_study(study_id)
    if row is not None:
        studies.update_progress(study_id, row.revision, qc_done=row.qc_done + len(rows))
