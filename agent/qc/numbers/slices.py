"""Measure one slice: kernels, then formulas.

Job: choose what is measured on a slice by its modality and component, and turn sums into `FrameNumbers`. Place: called
by `agent.qc.measure`, which imports it late because it imports numba. It must never judge and never keep pixels.
"""

from __future__ import annotations

import base64
import hashlib
import math
from dataclasses import replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from agent.qc.image_headers import FrameHeaders, ImageHeaders, PixelFacts
from agent.qc.measurement import FrameNumbers, NotComputable, Number
from agent.qc.numbers.hounsfield import add_hounsfield_numbers, hounsfield_plan
from agent.qc.numbers.magnetic import SliceNumbers
from agent.qc_kernels.levels import Coding
from agent.qc_kernels.loading import LoadedSlice, load_slice
from agent.qc_kernels.records import Buffers, Plan, Scaling, make_buffers
from agent.qc_kernels.slices import sum_hounsfield, sum_slice

MAX_BLOCKS = 32
MIN_BLOCK_EDGE = 8
NO_PADDING = (1, 0)
NO_FLOOR = -(1 << 40)
PADDING_BELOW_HU = -1100.0
BODY_HU = -300.0
MIN_SIDE = 8
MIN_BODY = 100
_NOT_MAGNITUDE = {"PHASE", "REAL", "IMAGINARY", "MIXED"}


def measure_slice(
    pixels: NDArray[np.integer], headers: ImageHeaders, frame: FrameHeaders, problems: set[str]
) -> FrameNumbers | NotComputable:
    """Measure one slice.

    Parameters
    ----------
    pixels : (rows, cols) integer
        Stored pixels, C-contiguous, native byte order, writable.
    headers, frame : ImageHeaders, FrameHeaders
        Of the object and of this slice.
    problems : set of str
        Receives ``junk_bits`` when bits above HighBit had to be masked.
    """
    if not (math.isfinite(frame.slope) and math.isfinite(frame.intercept) and frame.slope > 0):
        return NotComputable("bad_rescale")
    rows, columns = pixels.shape
    edge = block_edge(rows, columns)
    buffers = _buffers(rows, columns, edge)
    is_ct = headers.is_image and headers.modality == "CT"
    coding = coding_of(headers.pixels, PADDING_BELOW_HU if is_ct else None, frame)
    loaded = load_slice(pixels, coding, is_ct, buffers)
    if loaded.junk:
        problems.add("junk_bits")
    if not loaded.valid:
        return NotComputable("all_padding")
    numbers = _plain_numbers(pixels, loaded, frame)
    if numbers.is_blank or min(rows, columns) < MIN_SIDE:
        return _without(numbers, "blank" if numbers.is_blank else "no_head")
    scaling = _scaling(loaded, frame)
    sums = sum_slice(buffers, loaded.padded > 0, scaling, _plan(frame, scaling, edge, is_ct))
    calculator = SliceNumbers(
        sums, scaling, frame.slope, frame.intercept, (rows, columns), frame.phase_axis is not None
    )
    numbers = _shared_numbers(numbers, calculator, headers, frame)
    if headers.is_image and headers.modality == "MR":
        if frame.component in _NOT_MAGNITUDE:
            return _without(numbers, "not_magnitude")
        return _with_blocks(_magnetic_numbers(numbers, calculator), calculator, buffers, edge)
    if is_ct:
        return _with_blocks(_hounsfield_numbers(numbers, calculator, buffers, frame), calculator, buffers, edge)
    return _without(numbers, "not_graded")


def _hounsfield_numbers(
    numbers: FrameNumbers, calculator: SliceNumbers, buffers: Buffers, frame: FrameHeaders
) -> FrameNumbers:
    plan = hounsfield_plan(calculator, frame)
    sums = sum_hounsfield(buffers, calculator.scaling.size, plan)
    return _without(add_hounsfield_numbers(numbers, sums, calculator, frame), "mr_only")


def block_edge(rows: int, columns: int) -> int:
    """Side of the blocks: 8 pixels, doubled until there are at most 32 of them along the longer side."""
    edge = MIN_BLOCK_EDGE
    while max(rows, columns) > edge * MAX_BLOCKS:
        edge *= 2
    return edge


@lru_cache(maxsize=4)
def _buffers(rows: int, columns: int, edge: int) -> Buffers:
    return make_buffers(rows, columns, edge)


def coding_of(facts: PixelFacts, below: float | None, frame: FrameHeaders) -> Coding:
    """How stored integers are to be read (PS3.3 C.7.6.3.1.1, C.7.5.1.1.2).

    Parameters
    ----------
    facts : PixelFacts
        Bits, sign and padding.
    below : float or None
        Displayed value below which a pixel is padding.
    frame : FrameHeaders
        Slope and intercept.
    """
    allocated, stored = facts.bits_allocated or 16, facts.bits_stored or facts.bits_allocated or 16
    high = facts.high_bit if facts.high_bit is not None else stored - 1
    mask, sign, low_bit = 0, 0, 0
    if 0 < stored < allocated and stored - 1 <= high < allocated:
        mask, low_bit = (1 << stored) - 1, high + 1 - stored
        sign = 1 << (stored - 1) if facts.is_signed else 0
    padding = NO_PADDING
    if facts.padding_value is not None:
        limit = facts.padding_limit if facts.padding_limit is not None else facts.padding_value
        padding = (min(facts.padding_value, limit), max(facts.padding_value, limit))
    floor = NO_FLOOR if below is None else math.ceil((below - frame.intercept) / frame.slope)
    return Coding(low_bit, mask, sign, *padding, max(min(floor, 1 << 40), NO_FLOOR))


def _scaling(loaded: LoadedSlice, frame: FrameHeaders) -> Scaling:
    size = ((loaded.maximum - loaded.minimum) >> loaded.shift) + 1
    zero = -loaded.minimum >> loaded.shift
    origin = (-frame.intercept / frame.slope - loaded.minimum) / (1 << loaded.shift)
    return Scaling(loaded.minimum, loaded.shift, size, zero if 0 <= zero < size else -1, origin)


def _plan(frame: FrameHeaders, scaling: Scaling, edge: int, is_ct: bool) -> Plan:
    side = min(frame.rows, frame.columns)
    threshold = -1
    if is_ct:
        stored = (BODY_HU - frame.intercept) / frame.slope
        level = (stored - scaling.offset) / (1 << scaling.shift)
        threshold = int(min(max(level, 0.0), scaling.size - 1.0))
    return Plan(frame.phase_axis or 0, threshold, max(1, side // 64), max(2, side // 32), edge)


def _plain_numbers(pixels: NDArray[np.integer], loaded: LoadedSlice, frame: FrameHeaders) -> FrameNumbers:
    lowest, highest = (frame.slope * value + frame.intercept for value in (loaded.minimum, loaded.maximum))
    return FrameNumbers(
        index=frame.index,
        pixels=loaded.valid,
        padding_pixels=loaded.padded,
        is_blank=loaded.minimum == loaded.maximum,
        digest=hashlib.sha256(pixels.data).hexdigest()[:16],
        minimum=lowest,
        maximum=highest,
    )


def _shared_numbers(
    numbers: FrameNumbers, calculator: SliceNumbers, headers: ImageHeaders, frame: FrameHeaders
) -> FrameNumbers:
    """Numbers that any grey picture has."""
    histogram = calculator.sums.histogram
    plateau = float(histogram.at_maximum / histogram.all[0])
    is_full = calculator.scaling.shift == 0 and _is_largest_code(calculator, headers.pixels)
    numbers = replace(
        numbers,
        mean=calculator.mean_sd(histogram.all)[0],
        saturated_share=plateau if is_full else 0.0,
        plateau_share=plateau,
        zero_share=float(histogram.zeros / histogram.all[0]),
    )
    if not headers.is_image:
        return numbers
    reason = calculator.head_reason() if headers.modality == "MR" else _body_reason(calculator)
    if reason is not None:
        return replace(
            numbers,
            threshold=calculator.real(histogram.threshold),
            foreground_share=0.0,
            foreground_area_mm2=0.0,
            foreground_mean=NotComputable(reason),
            foreground_sd=NotComputable(reason),
            foreground_log_mean=NotComputable(reason),
        )
    return _foreground_numbers(numbers, calculator, frame)


def _foreground_numbers(numbers: FrameNumbers, calculator: SliceNumbers, frame: FrameHeaders) -> FrameNumbers:
    histogram = calculator.sums.histogram
    rows, columns = calculator.shape
    head = int(histogram.head[0])
    mean, sd = calculator.mean_sd(histogram.head)
    spacing = frame.pixel_spacing
    core: tuple[Number, ...] = (NotComputable("no_core"),) * 3
    if histogram.core[0]:
        levels = (histogram.core_p02, histogram.core_median, histogram.core_p98)
        core = tuple(calculator.real(level) for level in levels)
    top, bottom, left, right = calculator.sums.edge.foreground_border
    centre, moments = calculator.centre_and_moments()
    return replace(
        numbers,
        threshold=calculator.real(histogram.threshold),
        foreground_share=head / (rows * columns),
        foreground_area_mm2=head * spacing[0] * spacing[1] if spacing else NotComputable("no_spacing"),
        foreground_mean=mean,
        foreground_sd=sd,
        foreground_log_mean=math.log(mean) if mean > 0 else NotComputable("no_signal"),
        head=calculator.stored(histogram.head),
        air=calculator.stored(histogram.air),
        core_p02=core[0],
        core_median=core[1],
        core_p98=core[2],
        edges=(top / columns, bottom / columns, left / rows, right / rows),
        centre=centre,
        moments=moments,
    )


def _body_reason(calculator: SliceNumbers) -> str | None:
    return None if calculator.sums.histogram.head[0] >= MIN_BODY else "no_head"


def _is_largest_code(calculator: SliceNumbers, facts: PixelFacts) -> bool:
    stored = facts.bits_stored or facts.bits_allocated or 16
    largest = (1 << (stored - 1 if facts.is_signed else stored)) - 1
    return calculator.scaling.offset + calculator.scaling.size - 1 >= largest


def _magnetic_numbers(numbers: FrameNumbers, calculator: SliceNumbers) -> FrameNumbers:
    low, high = calculator.class_means()
    smooth_rows, smooth_columns = calculator.smoothness()
    numbers = replace(
        numbers,
        air_zero_share=calculator.air_zero_share(),
        air_median=calculator.air_median(),
        noise_air=calculator.noise_air(),
        snr_air=calculator.snr_air(),
        noise_laplacian=calculator.noise_laplacian(),
        noise_laplacian_pct=calculator.noise_laplacian_pct(),
        snr_tissue=calculator.snr_tissue(),
        cnr=calculator.cnr(),
        cjv=calculator.cjv(),
        class_low=low,
        class_high=high,
        sharpness=calculator.sharpness(),
        gradient_entropy=calculator.gradient_entropy(),
        ghost_pe_pct=calculator.ghost_pe_pct(),
        ghost_half_fov=calculator.ghost_half_fov(),
        edge_energy=calculator.edge_energy(),
        air_structure=calculator.air_structure(),
        efc=calculator.efc(),
        fber=calculator.fber(),
        smoothness_rows=smooth_rows,
        smoothness_columns=smooth_columns,
    )
    return _without(numbers, "ct_only")


def _with_blocks(numbers: FrameNumbers, calculator: SliceNumbers, buffers: Buffers, edge: int) -> FrameNumbers:
    means = buffers.blocks
    values = np.where(means < 0, 0.0, calculator.real(0) + calculator.unit * means).astype("<f4")
    return replace(
        numbers,
        block_edge=edge,
        blocks_shape=values.shape,
        blocks=base64.b64encode(values.tobytes()).decode("ascii"),
    )


def _without(numbers: FrameNumbers, reason: str) -> FrameNumbers:
    """Give every number that was not computed this reason."""
    return numbers.with_reason(reason)
