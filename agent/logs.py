"""Structured logs that may leave the hospital.

Job: set up structlog once a process, and drop whatever could identify a patient before a line is written. Place:
every room gets its logger here. A study appears as its keyed reference (``study=``), never by name, identifier, date
or UID. The filter is a second net: the first is that nobody hands patient data to a logger.
"""

from __future__ import annotations

import logging
import re
import sys
import traceback
from collections.abc import MutableMapping
from typing import Any, cast

import structlog

from agent.errors import AgentError

_FORBIDDEN_KEYS = frozenset(
    {"patient", "patient_id", "patient_name", "birth_date", "accession", "accession_number", "study_uid", "series_uid",
     "sop_uid", "dataset", "data_set", "description", "identifiers", "path", "file"}
)  # fmt: skip
_UID = re.compile(r"\b[0-2](?:\.(?:0|[1-9]\d*)){5,}\b")
_WELL_KNOWN = "1.2.840.10008."
_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


def _mask_uids(text: str) -> str:
    return _UID.sub(lambda m: m.group() if m.group().startswith(_WELL_KNOWN) else "<uid>", text)


def remove_identifiers(logger: object, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Structlog processor: mask what must not be written.

    Values under keys that name patient data are replaced, UIDs outside the Standard's own root are masked wherever
    they stand.
    """
    del logger, method
    for key, value in event.items():
        if key in _FORBIDDEN_KEYS:
            event[key] = "<withheld>"
        elif isinstance(value, str):
            event[key] = _mask_uids(value)
    return event


def _describe(error: BaseException) -> str:
    """The type, and the message only where it is one of ours: others quote what they choked on."""
    kind = f"{type(error).__module__}.{type(error).__qualname__}"
    return f"{kind}: {error}" if isinstance(error, AgentError) else kind


def _trace(error: BaseException) -> list[str]:
    lines = [] if error.__cause__ is None else [*_trace(error.__cause__), "caused"]
    for frame in traceback.extract_tb(error.__traceback__):
        place = frame.filename.rpartition("site-packages/")[2]
        lines.append(f"{place}:{frame.lineno} {frame.name}")
    return [*lines, _describe(error)]


def render_exception(logger: object, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Structlog processor: an exception as its places and type, without local variables and foreign messages."""
    del logger, method
    given = event.pop("exc_info", None)
    error = sys.exc_info()[1] if given is True else given[1] if isinstance(given, tuple) else given
    if isinstance(error, BaseException):
        event["exception"] = " | ".join(_trace(error))
    return event


def configure_logs(level: str = "info", log_format: str = "console") -> None:
    """Set up logging for this process.

    Parameters
    ----------
    level : str
        ``debug``, ``info``, ``warning`` or ``error``.
    log_format : str
        ``console`` or ``json``.
    """
    _shape_events(level, log_format)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s", stream=sys.stderr, force=True)
    # these libraries put data sets, addresses and identifiers into their messages
    for name in ("pynetdicom", "pydicom", "botocore", "boto3", "urllib3", "apprise", "werkzeug", "pykka"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)


def _shape_events(level: str, log_format: str) -> None:
    rendering: Any = (
        structlog.processors.JSONRenderer()
        if log_format == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            render_exception,
            remove_identifiers,
            rendering,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )


def get_logger(room: str) -> structlog.stdlib.BoundLogger:
    """Return the logger of a room.

    Parameters
    ----------
    room : str
        Name of the room or process, for example ``receiver``.
    """
    return cast("structlog.stdlib.BoundLogger", structlog.get_logger(room=room))


# a process that configures nothing (a worker that fails early, a test) shows no local variables either
_shape_events("info", "console")
