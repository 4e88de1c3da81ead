"""How values are written: times, sizes, numbers, plain words; filters and globals of the templates.

Place: installed by ``app``. Times are shown in the hospital's zone, relative when fresh, with the exact time on
hover. It must never format what the reader may not see.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo

from flask import Flask, request
from markupsafe import Markup

from agent.study import LOOKS, StudyStatus, Verb
from agent.web.context import role, web, who

THIN = "\u202f"
FRESH_S = 3600 * 12
_SHORT = re.compile(r"\b(?:qc|uid|api|ae)\b", re.IGNORECASE)
_SENTENCE = re.compile(r"(?<=[.!?]) (?=[A-Z])")

VERB_WORDS: dict[Verb, tuple[str, str]] = {
    Verb.FORCE_STABLE: ("Force stable", "Goes on to quality control although images may be missing."),
    Verb.RETRY: ("Retry", "Repeats the step that failed."),
    Verb.OVERRIDE: ("Override QC", "Lets the study pass although quality control did not."),
    Verb.REJECT: ("Reject", "Ends the study as failed."),
    Verb.REPROCESS: (
        "Run QC again",
        "Starts a new revision: quality control runs again, an older report is superseded.",
    ),
    Verb.HOLD: ("Hold", "Keeps the study where it is until it is released."),
    Verb.RELEASE: ("Release", "Lets a held study go on."),
    Verb.CANCEL: ("Cancel", "Stops the upload or the order in the cloud."),
    Verb.DELETE: ("Delete", "Destroys the images for good; a line that they existed stays."),
}
TRIGGER_WORDS = {
    "instance_arrived": "Images arrived",
    "association_closed": "Sender closed the association",
    "found_complete": "All required images are here",
    "waited_out": "No more images came",
    "forced_stable": "Forced stable",
    "qc_pass": "Quality control passed",
    "qc_review": "Quality control wants a person to look",
    "qc_fail": "Quality control failed",
    "overridden": "Quality control overridden",
    "rejected": "Rejected",
    "upload_started": "Upload started",
    "upload_finished": "Upload finished",
    "upload_failed": "Upload failed",
    "order_accepted": "Analysis started",
    "report_stored": "Report received",
    "order_failed": "Analysis failed",
    "cancelled": "Cancelled",
    "retried_qc": "Quality control repeated",
    "retried_upload": "Upload repeated",
    "reprocessed": "New revision on request",
    "held": "Held",
    "released": "Released",
    "crashed": "Internal error",
    "deleted": "Images deleted",
    "kept_aside": "Late images kept aside",
}
FLAG_WORDS = {
    "held": ("Held", "waits until somebody releases it"),
    "needs_review": ("Review", "a person has to look: the judgement is doubtful, or images came after delivery"),
    "incomplete": ("Incomplete", "went on although images were missing"),
    "conflict": ("Conflict", "the same SOP Instance UID came with other bytes"),
    "quarantined": ("Quarantined", "stored bytes are damaged or suspect"),
    "deleted": ("Deleted", "the images were destroyed"),
}
JUDGE_WORDS = {
    "open_association": "Associations",
    "quiet_series": "Series quiet",
    "quiet_study": "Study quiet",
    "header_counts": "Counts in headers",
    "slice_grid": "Slice positions",
    "diffusion": "Diffusion volumes",
    "required_series": "Required series",
    "instance_numbers": "Instance Numbers",
    "source_count": "Count of the source",
}


CLASS_WORDS = {
    "dwi": "diffusion", "bold": "functional MR", "asl": "arterial spin labelling", "fieldmap": "field map",
    "swi": "susceptibility", "flair": "FLAIR", "t1": "T1", "t2": "T2", "pd": "proton density", "mr": "MR", "ct": "CT",
    "non_image": "no images", "derived": "derived images",
}  # fmt: skip


def zone() -> tzinfo | None:
    """Return the hospital's time zone; None is the machine's."""
    name = web().settings.web.time_zone
    return ZoneInfo(name) if name else None


def local(at: float) -> datetime:
    """Return a moment in the hospital's time."""
    return datetime.fromtimestamp(at, zone()).astimezone(zone())


def exact(at: float | None) -> str:
    """Write a moment to the second."""
    return "" if at is None else local(at).strftime("%Y-%m-%d %H:%M:%S %Z").strip()


def duration(seconds: float | None) -> str:
    """Write a duration in at most two units."""
    if seconds is None:
        return "–"
    seconds = max(0, int(seconds))
    if seconds < 60:
        return f"{seconds}{THIN}s"
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86_400
    if minutes < 60:
        return f"{minutes}{THIN}min"
    if hours < 24:
        return f"{hours}{THIN}h {minutes % 60}{THIN}min" if minutes % 60 else f"{hours}{THIN}h"
    return f"{days}{THIN}d {hours % 24}{THIN}h" if hours % 24 and days < 7 else f"{days}{THIN}d"


def ago(at: float | None) -> str:
    """Write a moment as distance from now when fresh, as date and time otherwise."""
    if at is None:
        return "–"
    passed = web().clock.timestamp() - at
    if passed < -1:
        return f"in {duration(-passed)}"
    if passed < 5:
        return "just now"
    if passed < FRESH_S:
        return f"{duration(passed)} ago"
    then, now = local(at), local(web().clock.timestamp())
    if then.date() == now.date():
        return then.strftime("%H:%M")
    if then.date() == (now - timedelta(days=1)).date():
        return then.strftime("yesterday %H:%M")
    return then.strftime("%Y-%m-%d %H:%M")


def moment(at: float | None, *, age: bool = False) -> Markup:
    """Write a moment as a ``time`` element; the exact time shows on hover."""
    if at is None:
        return Markup("–")
    iso = datetime.fromtimestamp(at, zone()).astimezone().isoformat(timespec="seconds")
    text = duration(web().clock.timestamp() - at) if age else ago(at)
    mode = "age" if age else "ago"
    return Markup('<time datetime="{}" title="{}" data-{}="{}">{}</time>').format(
        iso, exact(at), mode, f"{at:.0f}", text
    )


def number(value: float | None, digits: int = 0) -> str:
    """Write a number with thin spaces between thousands."""
    return "–" if value is None else f"{value:,.{digits}f}".replace(",", THIN)


def size(count: float | None) -> str:
    """Write bytes in decimal units."""
    if count is None:
        return "–"
    value, unit = float(count), "B"
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if abs(value) < 1000 or unit == "TB":
            break
        value /= 1000
    return f"{value:.0f}{THIN}{unit}" if unit in ("B", "kB") else f"{value:.1f}{THIN}{unit}"


def dicom_date(date: str) -> str:
    """Write a DICOM DA; text that is none is left out."""
    date = date.replace(".", "")
    return f"{date[:4]}-{date[4:6]}-{date[6:8]}" if len(date) == 8 and date.isdigit() else ""


def dicom_time(time: str) -> str:
    """Write a DICOM TM to the minute."""
    digits = time.replace(":", "")
    return f"{digits[:2]}:{digits[2:4]}" if len(digits) >= 4 and digits[:4].isdigit() else ""


def iso_datetime(date: str, time: str) -> str | None:
    """Return date and time of a study as ISO 8601 without a zone, as the headers have it."""
    day = dicom_date(date)
    if not day:
        return None
    digits = time.replace(":", "").split(".")[0]
    if not digits.isdigit() or len(digits) < 4:
        return day
    return f"{day}T{digits[:2]}:{digits[2:4]}:{digits[4:6] or '00'}"


def utc(at: float | None) -> str | None:
    """Return a moment as ISO 8601 in UTC."""
    if at is None:
        return None
    return datetime.fromtimestamp(at, tz=UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def number_text(value: object) -> str:
    """Write a measured value or a limit, whatever JSON type it has."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return number(value, 0 if value == int(value) and abs(value) < 1e15 else 3 if abs(value) < 1 else 2)
    if isinstance(value, int):
        return number(value)
    if isinstance(value, dict):
        return _limit_text(value)
    if isinstance(value, str):
        return value
    if isinstance(value, Iterable):
        return ", ".join(number_text(item) for item in value)
    return str(value)


def _limit_text(limit: dict[str, object]) -> str:
    low, high = limit.get("min", limit.get("low")), limit.get("max", limit.get("high"))
    if low is not None and high is not None:
        return f"{number_text(low)} – {number_text(high)}"
    if low is not None:
        return f"≥ {number_text(low)}"
    if high is not None:
        return f"≤ {number_text(high)}"
    return ", ".join(f"{key} {number_text(value)}" for key, value in limit.items())


def from_json(text: str) -> object:
    """Read JSON of a row; text that is none is nothing."""
    try:
        return json.loads(text)
    except ValueError:
        return None


def title_case(word: str) -> str:
    """Write a code word for people."""
    plain = word.replace("_", " ").replace("-", " ").capitalize()
    return _SHORT.sub(lambda found: found[0].upper(), plain)


def capitalize_first(text: str) -> str:
    """Write the first letter large and leave the others."""
    return text[:1].upper() + text[1:]


def sentences(text: str) -> list[str]:
    """Take a text apart into its sentences; a number after a full stop goes on with the sentence before it."""
    return [part.strip() for part in _SENTENCE.split(text) if part.strip()]


def install(app: Flask) -> None:
    """Give the templates filters and globals."""
    app.jinja_env.filters.update(
        ago=ago, exact=exact, duration=duration, moment=moment, number=number, size=size, dicom_date=dicom_date,
        dicom_time=dicom_time, number_text=number_text, from_json=from_json, title_case=title_case,
        sentences=sentences, capitalize_first=capitalize_first,
    )  # fmt: skip
    app.jinja_env.globals.update(
        LOOKS=LOOKS, STATUSES=list(StudyStatus), VERB_WORDS=VERB_WORDS,
        TRIGGER_WORDS=TRIGGER_WORDS, FLAG_WORDS=FLAG_WORDS,
        JUDGE_WORDS=JUDGE_WORDS, CLASS_WORDS=CLASS_WORDS,
    )  # fmt: skip
    app.context_processor(_request_values)


def _request_values() -> dict[str, object]:
    return {
        "identity": who(),
        "role": role().value,
        "theme": _one_of(request.cookies.get("theme"), ("auto", "light", "dark")),
        "density": _one_of(request.cookies.get("density"), ("normal", "compact")),
        "cursor": web().feed.cursor(),
        "ae_title": web().settings.dicom.ae_title,
        "now": web().clock.timestamp(),
    }


def _one_of(value: str | None, allowed: tuple[str, ...]) -> str:
    return value if value in allowed else allowed[0]
