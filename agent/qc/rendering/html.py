"""The quality report as one self-contained page.

Job: render a body with its pictures so that it can be mailed and opened anywhere: no script, no request, one style
element, every text escaped. Place: called through ``agent.qc.report``.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from functools import lru_cache
from html import escape
from importlib import resources

from agent.qc.rendering.model import (
    RESULT_WORDS,
    VERDICT_WORDS,
    Bar,
    Body,
    Picture,
    ReportHeading,
    advice_title,
    bar_of,
    grouped,
    tally,
)  # fmt: skip

WIDTH, HEIGHT = 180, 22


def render_html(body: Body, pictures: Sequence[Picture], heading: ReportHeading) -> str:
    """Render a report.

    Parameters
    ----------
    body : mapping
        ``QcReport.to_record()``.
    pictures : sequence of Picture
        Shown under *Image analysis*.
    heading : ReportHeading
        What stands above.
    """
    parts = [
        _heading(heading), _summary(body), _reasons(body), _advice(body), _checks(body), _images(body, pictures),
        _metadata(body), _footer(body, heading),
    ]  # fmt: skip
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="referrer" content="no-referrer">\n'
        f"<title>{escape(heading.title)}</title>\n<style>\n{_style()}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(part for part in parts if part)
        + "\n</main>\n</body>\n</html>\n"
    )


@lru_cache(maxsize=1)
def _style() -> str:
    return (resources.files("agent.qc.rendering") / "report.css").read_text(encoding="utf-8")


def _heading(heading: ReportHeading) -> str:
    rows = "".join(f"<div><dt>{escape(k)}</dt><dd>{escape(v)}</dd></div>" for k, v in heading.lines)
    return f'<h1>{escape(heading.title)}</h1>\n<dl class="heading">{rows}</dl>'


def _summary(body: Body) -> str:
    word, meaning = VERDICT_WORDS[body["verdict"]]
    score = "–" if body["score"] is None else f"{body['score']:.0f}"
    counts = tally(body)
    chips = "".join(
        f'<li><span class="chip {kind}">{RESULT_WORDS[kind][0]} {count} {RESULT_WORDS[kind][1]}</span></li>'
        for kind, count in counts.items()
        if count
    )
    title = body.get("profile_title") or body["profile"]
    return (
        f'<section class="sheet summary {body["verdict"]}" aria-label="Executive summary">'
        f'<div class="score"><strong>{score}</strong>'
        f'<span class="soft">of 100, {body["pass_score"]:g} needed</span></div>'
        f'<div><p class="verdict">{escape(word)}</p><p>{escape(body["because"])} {escape(meaning)}</p>'
        f'<p class="soft">Judged by {escape(title)}, version {escape(body["profile_version"])}; '
        f"{body['evidence_percent']:g} % of the weighted checks could be evaluated.</p>"
        f'<ul class="counts">{chips}</ul></div></section>'
    )


def _list(title: str, items: Sequence[str], tag: str) -> str:
    if not items:
        return ""
    rows = "".join(f"<li>{escape(item)}</li>" for item in items)
    return f'<h2>{escape(title)}</h2>\n<section class="sheet"><{tag}>{rows}</{tag}></section>'


def _reasons(body: Body) -> str:
    return _list("What weighs most", body["reasons"], "ol")


def _advice(body: Body) -> str:
    return _list(advice_title(body), body["recommendations"], "ul")


def _checks(body: Body) -> str:
    several = len({c["series"] for c in body["checks"] if c["series"]}) > 1
    sections = [
        f"<h3>{escape(title)}</h3>\n<table><thead><tr><th>Result</th><th>Parameter</th>"
        f'<th class="number">Measured</th><th>Limit</th><th>Range</th></tr></thead><tbody>'
        f"{''.join(_row(c, several=several) for c in checks)}</tbody></table>"
        for title, checks in grouped(body)
    ]
    return f'<h2>Parameter tests</h2>\n<section class="sheet">{"".join(sections)}</section>'


def _row(check: Body, *, several: bool) -> str:
    sign, word = RESULT_WORDS[check["result"]]
    notes = [check["series"] if several else "", check["detail"]]
    if check["uncalibrated"] and check["result"] == "pass":
        notes.append("Limit not calibrated for this scanner.")
    small = "".join(f"<small>{escape(note)}</small>" for note in notes if note)
    bar = bar_of(check)
    drawn = _svg(bar, check) if bar is not None and check["result"] in ("pass", "warn", "fail") else ""
    chip = f'<span class="chip {check["result"]}">{sign} {word}</span>'
    return (
        f"<tr><td>{chip}</td><td>{escape(check['title'])}{small}</td>"
        f'<td class="number">{escape(check["measured_text"])}</td><td class="limit">{escape(check["limit"])}</td>'
        f'<td class="bar">{drawn}</td></tr>'
    )


def _svg(bar: Bar, check: Body) -> str:
    zones = "".join(
        f'<rect class="{kind}" x="{a * WIDTH:.1f}" y="7" width="{(b - a) * WIDTH:.1f}" height="8"/>'
        for kind, a, b in bar.zones
    )
    edges = "".join(
        f'<line class="edge" x1="{x * WIDTH:.1f}" x2="{x * WIDTH:.1f}" y1="5" y2="17"/>' for x, _ in bar.ticks
    )
    x = min(WIDTH - 5.0, max(5.0, bar.marker * WIDTH))
    label = f"{check['measured_text']}; limit {check['limit']}"
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(label)}">{zones}{edges}'
        f'<circle class="mark-{check["result"]}" cx="{x:.1f}" cy="11" r="5"/></svg>'
    )


def _images(body: Body, pictures: Sequence[Picture]) -> str:
    figures = "".join(
        f'<figure><img alt="{escape(p.caption)}" src="data:image/png;base64,{base64.b64encode(p.png).decode()}">'
        f"<figcaption>{escape(p.caption)}</figcaption></figure>"
        for p in pictures
    )
    series = "".join(_series(s) for s in body["series"])
    shown = f'<section class="sheet pictures">{figures}</section>' if figures else ""
    return f'<h2>Image analysis</h2>\n{shown}<section class="sheet">{series}</section>'


def _series(series: Body) -> str:
    count = [f"{series['objects']} objects", f"{series['slices']} slices"]
    if series["positions"]:
        count.append(f"{series['positions']} positions")
    if series["volumes"] > 1:
        count.append(f"{series['volumes']} volumes")
    notes = []
    if not series["graded"]:
        notes.append("counted, not graded")
    elif not series["picked"]:
        notes.append("a repeat; another run is judged")
    elif series["score"] is not None:
        notes.append(f"score {series['score']:g}")
    notes += series["set_aside"]
    why = f"{series['confidence'] * 100:.0f} % sure: {'; '.join(series['evidence'])}" if series["evidence"] else ""
    facts = "".join(f"<div><dt>{escape(k)}</dt><dd>{escape(v)}</dd></div>" for k, v in series["facts"])
    return (
        f"<h3>{escape(series['label'])}</h3><p>{escape(', '.join(count))}; {escape('; '.join(notes))}.</p>"
        f'<p class="soft">{escape(why)}</p><dl class="facts">{facts}</dl>'
    )


def _metadata(body: Body) -> str:
    rows = "".join(f"<div><dt>{escape(k)}</dt><dd>{escape(v)}</dd></div>" for k, v in body["metadata"])
    return f'<h2>Metadata</h2>\n<section class="sheet"><dl class="facts">{rows}</dl></section>' if rows else ""


def _footer(body: Body, heading: ReportHeading) -> str:
    return (
        f"<footer><p>Profile {escape(body['profile'])} {escape(body['profile_version'])}, "
        f"SHA-256 {escape(body['profile_hash'])}; measured by {escape(body['measure_code'])}.</p>"
        f"<p>{escape(heading.footer)}</p></footer>"
    )
