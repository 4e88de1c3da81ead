"""The quality report for people: one page of HTML, one PDF.

Job: the values a renderer needs beside the body, and the two renderers behind one import. Place: called by ``web``
and by ``agent qc``. A report shown outside the hospital carries only the heading it is given.
"""

from __future__ import annotations

from agent.qc.rendering.html import render_html
from agent.qc.rendering.model import Picture, ReportHeading
from agent.qc.rendering.pdf import render_pdf

__all__ = ["Picture", "ReportHeading", "render_html", "render_pdf"]
