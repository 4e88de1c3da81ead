"""What a study's row, evidence and history say, in sentences for people.

Job: the headline of a study (why it is where it is and what comes next) and the words of a step by the evidence it
had. Place: used by the pages Home and Study. It must never judge: every sentence repeats what a judge, quality
control or a setting said.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from agent.store.reader.studies import StudyLine
from agent.store.reader.study import HistoryLine
from agent.study import LOOKS, FailedStep, StudyStatus, Trigger
from agent.web import words
from agent.web.context import web

LATE_FACTOR = 5.0
LATE_LEAST_S = 60.0
"""An Unstable study needs somebody when nothing came for five quiet times, and for a minute at least."""
NO_CLOUD = "No cloud is configured: the study rests here."
_QUIET_FOR = re.compile(r"for (\d+) s\b")
_CLASSES = re.compile(r"\b(dwi|bold|asl|fieldmap|swi|non_image)\b")


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a judge of completeness said."""

    judge: str
    scope: str
    series_uid: str
    answer: str
    sentence: str

    @property
    def is_missing(self) -> bool:
        """Whether something of the study is missing; an open association is no missing image."""
        return self.answer == "not_met" and self.scope != "gate"


@dataclass(frozen=True, slots=True)
class Headline:
    """Why a study is where it is: the first sentence, what comes next, further reasons."""

    text: str
    then: str = ""
    others: tuple[str, ...] = ()


def late_before() -> float:
    """Return the moment before which the last image of an Unstable study must have come to be waited for in vain."""
    quiet_s = web().settings.study.quiet_s
    return web().clock.timestamp() - max(LATE_FACTOR * quiet_s, LATE_LEAST_S)


def plain(sentence: str) -> str:
    """Write the class of a series in words."""
    return _CLASSES.sub(lambda found: words.CLASS_WORDS[found[0]], sentence)


def evidence_in(found: object) -> list[Evidence]:
    """Return the findings of a row or of a step, missing things first."""
    rows = found if isinstance(found, list) else []
    order = {"not_met": 0, "unknown": 1, "met": 2}
    listed = [
        Evidence(
            str(row.get("judge", "")), str(row.get("scope", "")), str(row.get("series_uid") or ""),
            str(row.get("answer", "unknown")), plain(str(row.get("sentence", ""))),
        )
        for row in rows
        if isinstance(row, dict)
    ]  # fmt: skip
    return sorted(listed, key=lambda row: order.get(row.answer, 1))


def evidence_of(line: StudyLine) -> list[Evidence]:
    """Return what the judges said last."""
    return evidence_in(words.from_json(line.completeness_json))


def headline(line: StudyLine, qc_reasons: Sequence[str] = ()) -> Headline:
    """Return why a study is where it is.

    Parameters
    ----------
    line : StudyLine
        The study.
    qc_reasons : sequence of str
        The reasons of its latest quality report, the worst first.
    """
    failed = words.sentences(line.failure_text or "")
    if failed:
        return Headline(failed[0], "", tuple(failed[1:]))
    if line.upload_problem:
        tried = words.duration(web().settings.cloud.retry_max_s)
        return Headline(line.upload_problem, f"Next try within {tried}.")
    if line.status in (StudyStatus.RECEIVING, StudyStatus.UNSTABLE):
        return _arriving(line)
    if line.needs_review and line.status is StudyStatus.DELIVERED:
        return Headline("Images came after delivery and were kept aside.", "Reprocess the study to include them.")
    if line.needs_review:
        asked = "Quality control wants a person to look"
        return Headline(qc_reasons[0], f"{asked}.", tuple(qc_reasons[1:])) if qc_reasons else Headline(f"{asked}.")
    return Headline(_resting(line))


def _resting(line: StudyLine) -> str:
    if line.held:
        return "Held until somebody releases it."
    if line.conflict:
        return "The same SOP Instance UID came with other bytes."
    meaning = words.capitalize_first(LOOKS[line.status].meaning) + "."
    rests = line.status is StudyStatus.QC_PASSED and web().settings.cloud.adapter == "none"
    return f"{meaning} {NO_CLOUD}" if rests else meaning


def _arriving(line: StudyLine) -> Headline:
    missing = [row.sentence for row in evidence_of(line) if row.is_missing]
    if line.status is StudyStatus.RECEIVING:
        return Headline(missing[0] if missing else "Images are arriving.", "", tuple(missing[1:]))
    return Headline(
        missing[0] if missing else "Nothing is known to be missing.", _next(line, missing), tuple(missing[1:])
    )


def _next(line: StudyLine, missing: Sequence[str]) -> str:
    """Say what an Unstable study waits for, and what happens when nothing comes."""
    if line.held:
        return "Held until somebody releases it."
    if line.deadline_at is None or line.deadline_at <= web().clock.timestamp():
        return ""
    until = f"Waits until {_clock_time(line.deadline_at)}, then"
    if not missing:
        return f"{until} goes on to quality control if no image comes."
    holds = web().settings.study.incomplete == "hold"
    return f"{until} {'is held for somebody to decide' if holds else 'goes on as incomplete'}."


def _clock_time(at: float) -> str:
    """Write a moment soon: seconds within a minute, the day when it is another."""
    then, now = words.local(at), words.local(web().clock.timestamp())
    if then.date() != now.date():
        return then.strftime("%Y-%m-%d %H:%M")
    return then.strftime("%H:%M:%S" if at - web().clock.timestamp() < 60 else "%H:%M")


def step_words(step: HistoryLine) -> str:
    """Return what happened in a step, by the evidence it had."""
    known = words.TRIGGER_WORDS.get(step.trigger, words.title_case(step.trigger))
    if step.trigger not in (Trigger.FOUND_COMPLETE, Trigger.WAITED_OUT):
        return known
    detail = words.from_json(step.detail_json)
    detail = detail if isinstance(detail, dict) else {}
    because = plain(str(detail.get("because", "")))
    if step.trigger == Trigger.FOUND_COMPLETE:
        return f"Complete: {because}" if because else known
    missing = [row.sentence for row in evidence_in(detail.get("findings")) if row.is_missing]
    if missing:
        return f"Went on incomplete: {missing[0]}"
    quiet = _QUIET_FOR.search(because)
    waited = f" for {quiet[1]}{words.THIN}s" if quiet else ""
    return f"No more images came{waited}; nothing is missing by what could be checked"


def analysis_words(line: StudyLine) -> str:
    """Return how far the analysis is."""
    if line.status is StudyStatus.DELIVERED:
        return "finished"
    if line.status is StudyStatus.PROCESSING:
        return f"{words.number(line.cloud_progress)} %"
    if line.status is StudyStatus.FAILED and line.step is FailedStep.ANALYSIS:
        return "failed"
    return "waits for its turn" if line.status is StudyStatus.PENDING else "not started"
