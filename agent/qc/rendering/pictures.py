"""Pictures for a report: a few slices of each series side by side.

Job: choose slices worth looking at, window them by percentiles, draw them as one PNG. Place: called by
``judge_worker``, which hands in the pixels. It must never draw a text from the image's headers: nothing on a picture
identifies a patient but the anatomy itself.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from agent.qc.checks.diffusion_numbers import dropouts
from agent.qc.rendering.model import Picture
from agent.qc.series import Series, Slice

Pixels = NDArray[np.float64]

TILE = 200
GAP = 4
ACROSS = 6
SERIES_AT_MOST = 4
MID_SLICES = 6
WORST_SLICES = 6


@dataclass(frozen=True, slots=True)
class Shot:
    """One slice to draw, its label and whether it is marked as bad."""

    item: Slice
    label: str
    marked: bool = False


def choose(series: Series) -> list[Shot]:
    """Choose the slices of one series: evenly through the stack, weighted ones below, then the worst."""
    shots = _through(series, series.volumes[0].slices if series.volumes else series.slices, "")
    weighted = [v for v in series.volumes if v.is_weighted]
    if weighted:
        chosen = weighted[len(weighted) // 2]
        shots += _through(series, chosen.slices, f"b {chosen.b_value or 0:.0f} ")
    found, _ = dropouts(series) if weighted else ([], 0)
    worst = sorted(found, key=lambda d: d.z)[:WORST_SLICES]
    shots += [Shot(d.item, f"dropout v{d.volume + 1} s{d.position + 1}", marked=True) for d in worst]
    return shots


def _through(series: Series, slices: Sequence[Slice], prefix: str) -> list[Shot]:
    usable = [s for s in slices if s.measured is not None] or list(slices)
    count = min(MID_SLICES, len(usable))
    if not count:
        return []
    places = np.linspace(0.12, 0.88, count) * (len(usable) - 1) if len(usable) > count else np.arange(count)
    total = len(series.grid.positions) if series.grid is not None else len(usable)
    return [Shot(usable[round(p)], f"{prefix}{round(p) + 1}/{total}") for p in places]


def draw(series: Series, shots: Sequence[Shot], pixels_of: Callable[[Slice], Pixels | None]) -> Picture | None:
    """Draw one picture of a series.

    Parameters
    ----------
    series : Series
        The series.
    shots : sequence of Shot
        What to draw.
    pixels_of : callable
        Returns the pixels of a slice, ``(rows, columns)``, or None when they cannot be had.
    """
    tiles = [(shot, pixels) for shot in shots if (pixels := pixels_of(shot.item)) is not None]
    if not tiles:
        return None
    across = min(ACROSS, len(tiles))
    down = -(-len(tiles) // across)
    sheet = Image.new("RGB", (across * (TILE + GAP) + GAP, down * (TILE + GAP) + GAP), (0, 0, 0))
    pen = ImageDraw.Draw(sheet)
    for n, (shot, pixels) in enumerate(tiles):
        x, y = GAP + (n % across) * (TILE + GAP), GAP + (n // across) * (TILE + GAP)
        tile = _tile(pixels, shot.item)
        sheet.paste(tile, (x + (TILE - tile.width) // 2, y + (TILE - tile.height) // 2))
        if shot.marked:
            pen.rectangle((x, y, x + TILE - 1, y + TILE - 1), outline=(255, 120, 110), width=3)
        pen.text((x + 5, y + 4), shot.label, fill=(255, 196, 120) if shot.marked else (225, 230, 235), font_size=13)
    out = io.BytesIO()
    sheet.save(out, "PNG", optimize=True)
    marked = sum(shot.marked for shot, _ in tiles)
    caption = f"{series.label}: {len(tiles) - marked} slices through the stack"
    caption += f", {marked} slices with signal dropout marked." if marked else "."
    return Picture(f"series-{series.number or 0}", caption, out.getvalue())


def _tile(pixels: Pixels, item: Slice) -> Image.Image:
    """Window to percentiles, keep the shape of the pixels in mm, fit into the tile."""
    inside = pixels[np.isfinite(pixels)]
    low, high = (float(x) for x in np.percentile(inside, (1.0, 99.5))) if inside.size else (0.0, 1.0)
    if item.image.headers.modality == "CT":
        low, high = -40.0, 120.0
    scaled = np.clip((pixels - low) / ((high - low) or 1.0), 0.0, 1.0)
    if item.image.headers.pixels.photometric == "MONOCHROME1":
        scaled = 1.0 - scaled
    picture = Image.fromarray((np.nan_to_num(scaled) * 255).astype(np.uint8), "L")
    spacing = item.frame.pixel_spacing or (1.0, 1.0)
    height, width = pixels.shape[0] * spacing[0], pixels.shape[1] * spacing[1]
    factor = TILE / max(height, width)
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    return picture.resize(size, Image.Resampling.BICUBIC).convert("RGB")


def series_to_draw(series: Sequence[Series]) -> list[Series]:
    """Return the series whose pictures go into the report: graded ones, the largest first."""
    graded = [s for s in series if s.is_graded]
    return sorted(graded, key=lambda s: -len(s.slices))[:SERIES_AT_MOST]
