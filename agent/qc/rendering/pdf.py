"""The quality report as a PDF to print, A4.

Job: the same content as the page, with the fonts every PDF reader has. Those know Latin-1 only, so other letters are
written with the nearest Latin ones. Place: called through ``agent.qc.report``. It must never fail on a character.
"""

from __future__ import annotations

import io
import unicodedata
from collections.abc import Sequence

from fpdf import FPDF
from fpdf.enums import MethodReturnValue, XPos, YPos

from agent.qc.rendering.model import (
    RESULT_WORDS,
    VERDICT_WORDS,
    Body,
    Picture,
    ReportHeading,
    advice_title,
    bar_of,
    grouped,
    tally,
)  # fmt: skip

Colour = tuple[int, int, int]

INK: Colour = (27, 33, 38)
SOFT: Colour = (90, 102, 112)
LINE: Colour = (217, 222, 226)
STRONG: dict[str, Colour] = {
    "pass": (31, 122, 77), "warn": (138, 90, 0), "review": (138, 90, 0), "fail": (179, 38, 30),
    "undetermined": (85, 96, 106),
}  # fmt: skip
PALE: dict[str, Colour] = {
    "pass": (215, 238, 225), "warn": (251, 232, 192), "review": (251, 232, 192), "fail": (248, 217, 214),
    "undetermined": (228, 232, 235),
}  # fmt: skip
COLUMNS = (24.0, 62.0, 30.0, 34.0, 30.0)
REPLACED = {
    "–": "-", "—": "-", "…": "...", "→": "->", "✓": "", "✕": "", "\u202f": " ", "\u2009": " ", "⁻³": "-3", "≤": "<=",
    "≥": ">=", "−": "-", "’": "'", "“": '"', "”": '"', "•": "-", "₀": "0",
}  # fmt: skip


def latin(text: str) -> str:
    """Write a text with the letters of Latin-1; what has no Latin form becomes a question mark."""
    for mark, plain in REPLACED.items():
        text = text.replace(mark, plain)
    out = []
    for letter in text:
        if ord(letter) < 256:
            out.append(letter)
            continue
        parts = unicodedata.normalize("NFKD", letter)
        plain = "".join(c for c in parts if ord(c) < 256 and not unicodedata.combining(c))
        out.append(plain or "?")
    return "".join(out)


def render_pdf(body: Body, pictures: Sequence[Picture], heading: ReportHeading) -> bytes:
    """Render a report as PDF.

    Parameters
    ----------
    body : mapping
        ``QcReport.to_record()``.
    pictures : sequence of Picture
        Shown under *Image analysis*.
    heading : ReportHeading
        What stands above.
    """
    sheet = _Sheet(heading)
    sheet.add_page()
    _summary(sheet, body)
    _list(sheet, "What weighs most", body["reasons"], numbered=True)
    _list(sheet, advice_title(body), body["recommendations"], numbered=False)
    _checks(sheet, body)
    _images(sheet, body, pictures)
    _pairs(sheet, "Metadata", body["metadata"])
    sheet.small(
        f"Profile {body['profile']} {body['profile_version']}, SHA-256 {body['profile_hash']}; "
        f"measured by {body['measure_code']}."
    )
    return bytes(sheet.output())


class _Sheet(FPDF):
    """Pages with heading and page number."""

    def __init__(self, heading: ReportHeading) -> None:
        super().__init__("P", "mm", "A4")
        self._report_heading = heading
        self.set_title(latin(heading.title))
        self.set_margins(15, 15, 15)
        self.set_auto_page_break(auto=True, margin=18)

    def header(self) -> None:
        """Draw the full heading on the first page, one line on the others."""
        heading = self._report_heading
        if self.page_no() > 1:
            self.font(8, colour=SOFT)
            self.cell(0, 5, latin(heading.title), new_x=XPos.LMARGIN, new_y=YPos.NEXT)
            self.ln(2)
            return
        self.font(20, bold=True)
        self.cell(0, 10, latin(heading.title), new_x=XPos.LMARGIN, new_y=YPos.NEXT)
        self.font(9, colour=SOFT)
        line = "    ".join(f"{label}: {value}" for label, value in heading.lines)
        if line:
            self.multi_cell(0, 5, latin(line), new_x=XPos.LMARGIN, new_y=YPos.NEXT)
        self.ln(3)

    def footer(self) -> None:
        """Draw the footer text and the page number."""
        self.set_y(-13)
        self.font(8, colour=SOFT)
        self.cell(140, 5, latin(self._report_heading.footer)[:110])
        self.cell(0, 5, f"Page {self.page_no()}", align="R")

    def font(self, size: float, *, bold: bool = False, colour: Colour = INK) -> None:
        """Choose size, weight and colour of the text that follows."""
        self.set_font("helvetica", "B" if bold else "", size)
        self.set_text_color(*colour)

    def title_line(self, text: str, size: float = 13, need_mm: float = 24) -> None:
        """Write a section title with room for what follows on the same page."""
        if self.get_y() + need_mm > self.h - 18:
            self.add_page()
        self.ln(3)
        self.font(size, bold=True)
        self.cell(0, size * 0.55, latin(text), new_x=XPos.LMARGIN, new_y=YPos.NEXT)
        self.ln(1.5)

    def text_line(self, text: str, size: float = 9.5, colour: Colour = INK, height: float = 4.8) -> None:
        """Write wrapped text."""
        self.font(size, colour=colour)
        self.multi_cell(0, height, latin(text), align="L", new_x=XPos.LMARGIN, new_y=YPos.NEXT)

    def small(self, text: str) -> None:
        """Write a wrapped note."""
        self.ln(3)
        self.text_line(text, 7.5, SOFT, 3.6)

    def lines_of(self, text: str, width: float, height: float) -> int:
        """Count the lines a text takes in a column."""
        lines = self.multi_cell(width, height, latin(text), align="L", dry_run=True, output=MethodReturnValue.LINES)
        return max(1, len(lines)) if isinstance(lines, list) else 1


def _summary(sheet: _Sheet, body: Body) -> None:
    word, meaning = VERDICT_WORDS[body["verdict"]]
    top, width, height = sheet.get_y(), sheet.epw, 34.0
    sheet.set_fill_color(*PALE[body["verdict"]])
    sheet.rect(sheet.l_margin, top, width, height, style="F")
    sheet.set_fill_color(*STRONG[body["verdict"]])
    sheet.rect(sheet.l_margin, top, 1.6, height, style="F")
    sheet.set_xy(sheet.l_margin + 5, top + 4)
    sheet.font(30, bold=True)
    score = "-" if body["score"] is None else f"{body['score']:.0f}"
    sheet.cell(32, 14, score, align="C")
    sheet.set_xy(sheet.l_margin + 5, top + 19)
    sheet.font(8, colour=SOFT)
    sheet.cell(32, 4, f"of 100, {body['pass_score']:g} needed", align="C")
    sheet.set_left_margin(sheet.l_margin + 42)
    sheet.set_xy(sheet.l_margin, top + 4)
    sheet.font(15, bold=True, colour=STRONG[body["verdict"]])
    sheet.cell(0, 7, word, new_x=XPos.LMARGIN, new_y=YPos.NEXT)
    sheet.text_line(f"{body['because']} {meaning}")
    title = body.get("profile_title") or body["profile"]
    evidence = f"{body['evidence_percent']:g} % of the weighted checks could be evaluated."
    sheet.text_line(f"Judged by {title}, version {body['profile_version']}; {evidence}", 8, SOFT, 4.2)
    counts = [f"{n} {RESULT_WORDS[kind][1]}" for kind, n in tally(body).items() if n]
    sheet.text_line("  |  ".join(counts), 8, SOFT, 4.2)
    sheet.set_left_margin(15)
    sheet.set_xy(15, top + height + 2)


def _list(sheet: _Sheet, title: str, items: Sequence[str], *, numbered: bool) -> None:
    if not items:
        return
    sheet.title_line(title)
    for n, item in enumerate(items, 1):
        sheet.set_x(sheet.l_margin)
        sheet.font(9.5)
        sheet.cell(6, 4.8, f"{n}." if numbered else "-")
        sheet.multi_cell(sheet.epw - 6, 4.8, latin(item), align="L", new_x=XPos.LMARGIN, new_y=YPos.NEXT)
        sheet.ln(0.8)


def _checks(sheet: _Sheet, body: Body) -> None:
    sheet.title_line("Parameter tests")
    several = len({c["series"] for c in body["checks"] if c["series"]}) > 1
    for title, checks in grouped(body):
        sheet.title_line(title, 10.5, 20)
        sheet.font(7.5, colour=SOFT)
        for width, name in zip(COLUMNS, ("Result", "Parameter", "Measured", "Limit", "Range"), strict=True):
            sheet.cell(width, 4, name)
        sheet.ln(4.5)
        for check in checks:
            _row(sheet, check, several=several)


def _row(sheet: _Sheet, check: Body, *, several: bool) -> None:
    series = f"{check['series']}." if several and check["series"] else ""
    notes = " ".join(note for note in (series, check["detail"]) if note)
    sheet.font(8.5)
    cells = (check["title"], check["measured_text"], check["limit"])
    height = 4.0 * max(sheet.lines_of(text, w - 2, 4.0) for text, w in zip(cells, COLUMNS[1:4], strict=True))
    sheet.font(7)
    noted = 3.2 * sheet.lines_of(notes, COLUMNS[1] + COLUMNS[2], 3.2) if notes else 0.0
    if sheet.get_y() + height + noted + 3 > sheet.h - 18:
        sheet.add_page()
    top, left = sheet.get_y(), sheet.l_margin
    sheet.set_draw_color(*LINE)
    sheet.line(left, top - 0.6, left + sheet.epw, top - 0.6)
    kind = check["result"]
    sheet.set_fill_color(*PALE[kind])
    sheet.rect(left, top + 0.3, 20, 4, style="F")
    sheet.font(7.5, bold=True, colour=STRONG[kind])
    sheet.set_xy(left, top + 0.3)
    sheet.cell(20, 4, RESULT_WORDS[kind][1], align="C")
    x = left + COLUMNS[0]
    for text, width in zip(cells, COLUMNS[1:4], strict=True):
        sheet.set_xy(x, top)
        sheet.font(8.5)
        sheet.multi_cell(width - 2, 4.0, latin(text), align="L")
        x += width
    if kind in ("pass", "warn", "fail"):
        _bar(sheet, check, x, top + 0.8)
    if notes:
        sheet.set_xy(left + COLUMNS[0], top + height)
        sheet.font(7, colour=SOFT)
        sheet.multi_cell(COLUMNS[1] + COLUMNS[2], 3.2, latin(notes), align="L")
    sheet.set_xy(left, top + height + noted + 1.6)


def _bar(sheet: _Sheet, check: Body, x: float, y: float) -> None:
    bar, width = bar_of(check), COLUMNS[4]
    if bar is None:
        return
    for kind, start, end in bar.zones:
        sheet.set_fill_color(*PALE[kind])
        sheet.rect(x + start * width, y, (end - start) * width, 2.4, style="F")
    sheet.set_draw_color(*SOFT)
    for place, _ in bar.ticks:
        sheet.line(x + place * width, y - 0.5, x + place * width, y + 2.9)
    sheet.set_fill_color(*STRONG[check["result"]])
    sheet.circle(x + min(0.96, max(0.04, bar.marker)) * width, y + 1.2, 1.1, style="F")


def _images(sheet: _Sheet, body: Body, pictures: Sequence[Picture]) -> None:
    sheet.title_line("Image analysis", need_mm=70 if pictures else 24)
    for picture in pictures:
        width_px, height_px = _size(picture.png)
        height = sheet.epw * height_px / width_px
        if sheet.get_y() + height + 8 > sheet.h - 18:
            sheet.add_page()
        sheet.image(io.BytesIO(picture.png), w=sheet.epw)
        sheet.text_line(picture.caption, 7.5, SOFT, 3.8)
        sheet.ln(2)
    for series in body["series"]:
        count = f"{series['objects']} objects, {series['slices']} slices"
        state = "" if series["graded"] else "; counted, not graded"
        _pairs(sheet, series["label"], series["facts"], f"{count}{state}", 10.5)


def _size(png: bytes) -> tuple[int, int]:
    """Read width and height from the header of a PNG (IHDR is always first)."""
    return int.from_bytes(png[16:20], "big"), int.from_bytes(png[20:24], "big")


def _pairs(sheet: _Sheet, title: str, pairs: Sequence[Sequence[str]], note: str = "", size: float = 13) -> None:
    if not pairs and not note:
        return
    sheet.title_line(title, size)
    if note:
        sheet.text_line(note, 8.5, SOFT)
    for n, (label, value) in enumerate(pairs):
        column = n % 2
        sheet.set_x(sheet.l_margin + column * sheet.epw / 2)
        sheet.font(8, colour=SOFT)
        sheet.cell(32, 4.6, latin(label))
        sheet.font(8)
        room = sheet.epw / 2 - 34
        text = latin(value)
        while text and sheet.get_string_width(text) > room:
            text = text[:-1]
        sheet.cell(room, 4.6, text)
        if column == 1 or n == len(pairs) - 1:
            sheet.ln(4.8)
