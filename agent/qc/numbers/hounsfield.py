"""Numbers of one CT slice: air, noise, metal, truncation.

Job: limits in HU to levels and back (C1, C2, C4, C5). Place: called by `agent.qc.numbers.slices`. It must never
give a number for a localizer, whose pixels are line integrals and no Hounsfield units.
"""

from __future__ import annotations

import math
from dataclasses import replace

from agent.qc.image_headers import FrameHeaders
from agent.qc.measurement import FrameNumbers, NotComputable
from agent.qc.numbers.magnetic import SliceNumbers
from agent.qc_kernels.records import HounsfieldPlan, HounsfieldSums

WINDOW_MM = 6.0
MIN_WINDOW, MAX_WINDOW, DEFAULT_WINDOW = 5, 31, 7
SOFT_TISSUE_HU = (0.0, 100.0)
TISSUE_MARGIN_HU = 100.0
AIR_BELOW_HU = -500.0
METAL_HU = 3000.0
NOISE_BIN_HU = 0.25
AIR_SMOOTH_HU = 5.0
MIN_WINDOWS = 100
MIN_AIR_SHARE = 0.005


def hounsfield_plan(calculator: SliceNumbers, frame: FrameHeaders) -> HounsfieldPlan:
    """Limits of the CT metrics as levels.

    Parameters
    ----------
    calculator : SliceNumbers
        Knows the scaling.
    frame : FrameHeaders
        Knows the pixel spacing.
    """
    window = DEFAULT_WINDOW
    if frame.pixel_spacing is not None:
        window = int(WINDOW_MM / max(frame.pixel_spacing)) // 2 * 2 + 1
    return HounsfieldPlan(
        window=min(max(window, MIN_WINDOW), MAX_WINDOW),
        tissue_low=_level(calculator, SOFT_TISSUE_HU[0]),
        tissue_high=_level(calculator, SOFT_TISSUE_HU[1]),
        pixel_low=_level(calculator, SOFT_TISSUE_HU[0] - TISSUE_MARGIN_HU),
        pixel_high=_level(calculator, SOFT_TISSUE_HU[1] + TISSUE_MARGIN_HU),
        noise_scale=calculator.unit / NOISE_BIN_HU,
        metal=_whole_level(calculator, METAL_HU),
        air_high=_whole_level(calculator, AIR_BELOW_HU),
        air_smooth=max(1, min(1000, round(AIR_SMOOTH_HU / calculator.unit))),
    )


def _level(calculator: SliceNumbers, hounsfield: float) -> float:
    return (hounsfield - calculator.real(0)) / calculator.unit


def _whole_level(calculator: SliceNumbers, hounsfield: float) -> int:
    return min(max(math.ceil(_level(calculator, hounsfield)), 0), calculator.scaling.size)


def add_hounsfield_numbers(
    numbers: FrameNumbers, sums: HounsfieldSums, calculator: SliceNumbers, frame: FrameHeaders
) -> FrameNumbers:
    """Fill in the numbers that only CT has.

    Parameters
    ----------
    numbers : FrameNumbers
        What is known so far.
    sums : HounsfieldSums
        What the kernel found.
    calculator : SliceNumbers
        Knows the scaling and the foreground.
    frame : FrameHeaders
        Tells localizers.
    """
    if "LOCALIZER" in frame.image_type:
        none = NotComputable("localizer")
        return replace(
            numbers, air_hu=none, noise_hu=none, soft_tissue_hu=none, metal_share=none, truncation_share=none
        )
    head, pixels = int(calculator.sums.histogram.head[0]), int(calculator.sums.histogram.all[0])
    has_air = sums.air_mode >= 0 and sums.air_pixels >= MIN_AIR_SHARE * pixels
    has_windows = sums.noise_windows >= MIN_WINDOWS and sums.noise_mode >= 0
    has_tissue = has_windows and math.isfinite(sums.tissue_median)
    no_tissue, no_body = NotComputable("no_soft_tissue"), NotComputable("no_head")
    return replace(
        numbers,
        air_hu=calculator.real(sums.air_mode) if has_air else NotComputable("no_air"),
        noise_hu=(sums.noise_mode + 0.5) * NOISE_BIN_HU if has_windows else no_tissue,
        soft_tissue_hu=calculator.real(sums.tissue_median) if has_tissue else no_tissue,
        metal_share=float(sums.metal / head) if head >= MIN_WINDOWS else no_body,
        truncation_share=float(sums.body_at_border / sums.border) if sums.border else no_body,
    )
