"""The query of a list of studies, as it stands in an address.

Job: read filters, order and page from the query string, and write them back with one thing changed. Place: used
by the Studies page, its CSV and the API. Values that make no sense are left out, never an error: addresses are
kept as bookmarks.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlencode

from agent.store.reader.studies import PAGE_SIZE_MAX, SORTS, StudyQuery
from agent.study import StudyStatus
from agent.web import telling
from agent.web.context import may_read_descriptions

TEXTS = ("modality", "q", "patient", "description", "source_aet", "verdict", "flag")
NAMES = ("status", *TEXTS, "from", "to", "sort", "page", "page_size")
"""All that an address may hold."""
PAGE_SIZES = (25, 50, 100, 200)
LONGEST = 64


def read(args: Mapping[str, str], *, page_size: int = 50) -> StudyQuery:
    """Return the query of an address.

    Parameters
    ----------
    args : mapping
        The query string.
    page_size : int
        Rows a page when the address names none.
    """
    known = {status.value for status in StudyStatus}
    texts = {name: args.get(name, "").strip()[:LONGEST] for name in TEXTS}
    sort = args.get("sort", "-arrived")
    return StudyQuery(
        status=tuple(word for word in args.get("status", "").split(",") if word in known),
        date_from=_date(args.get("from", "")),
        date_to=_date(args.get("to", "")),
        sort=sort.lstrip("-") if sort.lstrip("-") in SORTS else "arrived",
        descending=sort.startswith("-") or sort.lstrip("-") not in SORTS,
        page=_whole(args.get("page", ""), 1, 1_000_000),
        page_size=_whole(args.get("page_size", ""), page_size, PAGE_SIZE_MAX),
        may_read_descriptions=may_read_descriptions(),
        late_before=telling.late_before(),
        **texts,
    )


def problem(args: Mapping[str, str]) -> str:
    """Return what makes no sense in a query, for programs, which must not take everything for an answer; else empty."""
    known = [status.value for status in StudyStatus]
    for word in args.get("status", "").split(","):
        if word and word not in known:
            return f"There is no status {word[:LONGEST]!r}; there are {', '.join(known)}."
    for name in ("from", "to"):
        if args.get(name) and not _date(args[name]):
            return f"{name} is a date, written as 2026-01-31."
    if args.get("sort") and args["sort"].lstrip("-") not in SORTS:
        return f"sort is one of {', '.join(SORTS)}, with a minus before it for the reverse."
    for name in ("page", "page_size"):
        if args.get(name) and not args[name].isdigit():
            return f"{name} is a whole number."
    return ""


def _date(text: str) -> str:
    digits = text.replace("-", "")
    return digits if len(digits) == 8 and digits.isdigit() else ""


def _whole(text: str, default: int, most: int) -> int:
    return min(max(int(text), 1), most) if text.isdigit() and len(text) < 10 else default


def write(query: StudyQuery, **changes: object) -> str:
    """Return the query string of `query` with some values changed; a change of filter or order returns to page 1."""
    values: dict[str, object] = {
        "status": ",".join(query.status),
        **{name: getattr(query, name) for name in TEXTS},
        "from": query.date_from,
        "to": query.date_to,
        "sort": ("-" if query.descending else "") + query.sort,
        "page": 1 if changes else query.page,
        "page_size": query.page_size,
        **changes,
    }
    defaults = {"sort": "-arrived", "page": 1, "page_size": 50}
    return urlencode({k: v for k, v in values.items() if v not in ("", None) and v != defaults.get(k)})


def has_filter(query: StudyQuery) -> bool:
    """Whether anything but the status restricts the list."""
    return bool(query.date_from or query.date_to or any(getattr(query, name) for name in TEXTS))
