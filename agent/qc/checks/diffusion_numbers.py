"""Numbers of a diffusion series that need all its volumes: dropout, agreement of neighbours, diffusivity, drift.

Job: compute D3 to D8 of the catalogue from what was kept of each slice (masked means, block means, centres of mass).
Place: called by ``checks.diffusion`` and ``checks.pixel_metrics``. It must never open pixels, and never return NaN: a
number that cannot be computed is None.
"""

from __future__ import annotations

import base64
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agent.completeness.sequence_class import B0_MAX
from agent.qc.measurement import FrameNumbers, NotComputable
from agent.qc.series import Series, Slice, Volume

Array = NDArray[np.float64]

SAME_DIRECTION_DEGREES = 2.0
SMALLEST_SPREAD = 0.01
SMALLEST_LOSS = 0.08
FLAG_Z = 6.0
SUSPECT_Z = 3.5
MASK_SHARE = 0.25


@dataclass(frozen=True, slots=True)
class Dropout:
    """One slice of one volume that lost signal."""

    volume: int
    position: int
    z: float
    item: Slice


def shell_of(b_value: float, shells: Sequence[float], tolerance: float) -> float | None:
    """Return the shell a b value belongs to: within 50 s/mm² or the tolerance, whichever is larger (D1)."""
    for shell in shells:
        width = B0_MAX if shell <= B0_MAX else max(B0_MAX, tolerance * shell)
        if abs(b_value - shell) <= width:
            return shell
    return None


def unique_directions(gradients: Sequence[Sequence[float]]) -> list[tuple[float, ...]]:
    """Merge directions within 2 degrees of each other or of each other's opposite (D3)."""
    limit = math.cos(math.radians(SAME_DIRECTION_DEGREES))
    kept: list[tuple[float, ...]] = []
    for gradient in gradients:
        length = math.sqrt(sum(x * x for x in gradient))
        if length < 0.1:
            continue
        unit = tuple(x / length for x in gradient)
        if all(abs(sum(a * b for a, b in zip(unit, other, strict=True))) < limit for other in kept):
            kept.append(unit)
    return kept


def design_condition(directions: Sequence[Sequence[float]]) -> float | None:
    """Return the condition number of the six-column tensor design; None with fewer than six directions."""
    if len(directions) < 6:
        return None
    g = np.asarray(directions, dtype=np.float64)
    x, y, z = g[:, 0], g[:, 1], g[:, 2]
    design = np.column_stack([x * x, y * y, z * z, 2 * x * y, 2 * x * z, 2 * y * z])
    singular = np.linalg.svd(design, compute_uv=False)
    return None if singular[-1] <= 1e-9 else float(singular[0] / singular[-1])


def log_means(series: Series) -> tuple[Array, list[Volume]] | None:
    """Return ln of the foreground mean, ``(volumes, positions)``; NaN where a slice was not measured."""
    if series.grid is None or not series.volumes:
        return None
    places = {round(p, 1): n for n, p in enumerate(series.grid.positions)}
    table = np.full((len(series.volumes), len(series.grid.positions)), np.nan)
    for v, volume in enumerate(series.volumes):
        for item in volume.slices:
            numbers = item.measured
            where = _place(places, item)
            if numbers is None or where is None or isinstance(numbers.foreground_log_mean, NotComputable):
                continue
            table[v, where] = numbers.foreground_log_mean
    return table, list(series.volumes)


def _place(places: dict[float, int], item: Slice) -> int | None:
    if item.location_mm is None:
        return None
    key = round(item.location_mm, 1)
    return next((places[k] for k in (key, round(key + 0.1, 1), round(key - 0.1, 1)) if k in places), None)


def dropouts(series: Series) -> tuple[list[Dropout], int]:
    """Find slices whose signal fell against the other volumes of their shell and against their neighbours (D4, P18).

    Returns
    -------
    list of Dropout, int
        The slices, and how many slices could be compared.
    """
    table = log_means(series)
    if table is None:
        return [], 0
    values, volumes = table
    found: list[Dropout] = []
    compared = 0
    for shell in _shell_members(volumes):
        if len(shell) < 4:
            continue
        across = _robust_z(values[shell], axis=0)
        within = _robust_z(_interslice(values[shell]), axis=0)
        loss = np.nanmedian(values[shell], axis=0) - values[shell]
        compared += int(np.isfinite(across).sum())
        flagged = (across < -FLAG_Z) | ((across < -SUSPECT_Z) & (within < -FLAG_Z))
        for v, position in zip(*np.nonzero(flagged & (loss > SMALLEST_LOSS)), strict=True):
            item = _slice_at(series, volumes[shell[v]], int(position))
            if item is not None:
                found.append(Dropout(shell[v], int(position), float(across[v, position]), item))
    return found, compared


def _slice_at(series: Series, volume: Volume, position: int) -> Slice | None:
    if series.grid is None:
        return None
    place = series.grid.positions[position]
    return next((s for s in volume.slices if s.location_mm is not None and abs(s.location_mm - place) < 0.11), None)


def _shell_members(volumes: Sequence[Volume]) -> list[list[int]]:
    members: dict[float, list[int]] = defaultdict(list)
    for n, volume in enumerate(volumes):
        b = volume.b_value or 0.0
        key = 0.0 if b <= B0_MAX else next((s for s in members if s > B0_MAX and abs(s - b) <= max(B0_MAX, 0.1 * s)), b)
        members[key].append(n)
    return list(members.values())


def _robust_z(values: Array, axis: int) -> Array:
    with np.errstate(all="ignore"):
        middle = _median(values, axis)
        spread = 1.4826 * _median(np.abs(values - middle), axis)
        return np.asarray((values - middle) / np.maximum(spread, SMALLEST_SPREAD))


def _median(values: Array, axis: int) -> Array:
    """Median that ignores NaN and stays silent about columns of nothing else."""
    filled = np.ma.masked_invalid(values)
    middle = np.ma.median(filled, axis=axis, keepdims=True)  # type: ignore[no-untyped-call]
    return np.asarray(np.ma.filled(middle, np.nan), dtype=np.float64)


def _interslice(values: Array) -> Array:
    """Return the distance of each slice from the line of its two neighbours (P18); NaN at the ends."""
    out = np.full_like(values, np.nan)
    out[:, 1:-1] = values[:, 1:-1] - 0.5 * (values[:, :-2] + values[:, 2:])
    return out


def block_volume(volume: Volume) -> Array | None:
    """Return the block means of a volume as one vector, real units; None when a slice has none."""
    parts: list[Array] = []
    for item in volume.slices:
        numbers = item.measured
        if numbers is None or not numbers.blocks:
            return None
        parts.append(_blocks(numbers))
    return np.concatenate(parts) if parts else None


def _blocks(numbers: FrameNumbers) -> Array:
    return np.frombuffer(base64.b64decode(numbers.blocks), dtype="<f4").astype(np.float64)


@dataclass(frozen=True, slots=True)
class BlockTable:
    """Block means of all whole volumes with the mask of the head."""

    volumes: tuple[Volume, ...]
    values: Array
    mask: NDArray[np.bool_]


def block_table(series: Series) -> BlockTable | None:
    """Stack the block means of all volumes of full length; the mask comes from the brightest quarter of their mean."""
    vectors = [(v, block_volume(v)) for v in series.volumes]
    whole = [(v, b) for v, b in vectors if b is not None]
    if len(whole) < 2:
        return None
    length = max(len(b) for _, b in whole)
    kept = [(v, b) for v, b in whole if len(b) == length]
    values = np.stack([b for _, b in kept])
    unweighted = [n for n, (v, _) in enumerate(kept) if not v.is_weighted]
    reference = values[unweighted].mean(axis=0) if unweighted else values.mean(axis=0)
    top = float(np.percentile(reference, 98))
    if top <= 0:
        return None
    return BlockTable(tuple(v for v, _ in kept), values, reference > MASK_SHARE * top)


def neighbour_correlation(table: BlockTable) -> float | None:
    """Return the mean correlation of each weighted volume with its nearest neighbour in q-space (D5)."""
    weighted = [n for n, v in enumerate(table.volumes) if v.is_weighted and v.gradient is not None]
    if len(weighted) < 3 or int(table.mask.sum()) < 20:
        return None
    g = np.asarray([table.volumes[n].gradient for n in weighted], dtype=np.float64)
    b = np.asarray([table.volumes[n].b_value for n in weighted], dtype=np.float64)
    closeness = np.abs(g @ g.T) - (np.abs(b[:, None] - b[None, :]) > 0.1 * b[:, None]) * 2.0
    np.fill_diagonal(closeness, -np.inf)
    nearest = closeness.argmax(axis=1)
    inside = table.values[weighted][:, table.mask]
    centred = inside - inside.mean(axis=1, keepdims=True)
    norms = np.sqrt((centred**2).sum(axis=1))
    if not (norms > 0).all():
        return None
    r = (centred * centred[nearest]).sum(axis=1) / (norms * norms[nearest])
    return float(r.mean())


def unweighted_snr(table: BlockTable) -> float | None:
    """Return the median of mean over standard deviation of the blocks across b = 0 volumes (D6); needs two."""
    unweighted = [n for n, v in enumerate(table.volumes) if not v.is_weighted]
    if len(unweighted) < 2:
        return None
    inside = table.values[unweighted][:, table.mask]
    spread = inside.std(axis=0, ddof=1)
    usable = spread > 0
    return float(np.median(inside.mean(axis=0)[usable] / spread[usable])) if usable.any() else None


def apparent_diffusivity(table: BlockTable) -> float | None:
    """Return the median of ln(S0/Sb)/b over the head, 10⁻³ mm²/s (D7)."""
    unweighted = [n for n, v in enumerate(table.volumes) if not v.is_weighted]
    weighted = [n for n, v in enumerate(table.volumes) if v.is_weighted]
    if not unweighted or not weighted:
        return None
    s0 = table.values[unweighted][:, table.mask].mean(axis=0)
    rates = []
    for n in weighted:
        sb = table.values[n][table.mask]
        good = (sb > 0) & (s0 > 0)
        if good.any():
            rates.append(np.median(np.log(s0[good] / sb[good])) / (table.volumes[n].b_value or 1.0))
    return float(1000 * np.median(rates)) if rates else None


def drift_mm(series: Series) -> float | None:
    """Return the largest movement of a volume in the plane of its slices, mm (D8).

    The movement of a volume is the median, over its slices, of how far the centre of mass lies from where it lies in
    the other volumes of the shell at the same position: contrast that changes with direction moves single slices, a
    head moves them all. Movement along the normal changes which anatomy a slice holds; that is not told from contrast
    here.
    """
    if series.grid is None:
        return None
    places = {round(p, 1): n for n, p in enumerate(series.grid.positions)}
    centres = np.full((len(series.volumes), len(series.grid.positions), 2), np.nan)
    for v, volume in enumerate(series.volumes):
        for item in volume.slices:
            numbers, spacing, where = item.measured, item.frame.pixel_spacing, _place(places, item)
            if numbers is not None and numbers.centre is not None and spacing is not None and where is not None:
                centres[v, where] = (numbers.centre[0] * spacing[0], numbers.centre[1] * spacing[1])
    worst: float | None = None
    for shell in _shell_members(series.volumes):
        if len(shell) < 3:
            continue
        moved = _median(centres[shell] - _median(centres[shell], 0), 1)
        away = np.sqrt((moved**2).sum(axis=-1))
        if np.isfinite(away).any():
            worst = max(worst or 0.0, float(np.nanmax(away)))
    return worst
