"""Slice metrics: one fused integer kernel against the same metrics in numpy, measured alternately on the same slices.

The numpy side is written the way numpy code is written (whole-array operations, float64), computes the same set and is
checked against the kernel before anything is timed. `measure` figures are whole objects: parse, decode, headers,
kernels, JSON.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from io import BytesIO

import numpy as np

from agent.qc_kernels.cache import user_cache, warm_cache
from benchmarks.figures import Figure, paired_ratio

SEED = 20_261
SLICES = 16
SIDES = (128, 256, 512)


def head(rng: np.random.Generator, side: int) -> np.ndarray:
    y, x = np.mgrid[0:side, 0:side] - (side - 1) / 2
    outer = (x / (0.32 * side)) ** 2 + (y / (0.40 * side)) ** 2 <= 1
    inner = (x / (0.20 * side)) ** 2 + (y / (0.25 * side)) ** 2 <= 1
    clean = 500.0 * outer + 250.0 * inner * (1 + 0.3 * np.sin(x / 5) * np.cos(y / 7))
    return np.round(np.hypot(rng.normal(clean, 8), rng.normal(0, 8, clean.shape))).astype(np.uint16)


def _otsu(counts: np.ndarray) -> float:
    step = -(-counts.size // 256)
    bins = np.bincount(np.arange(counts.size) // step, weights=counts, minlength=256)
    weight, moment = np.cumsum(bins), np.cumsum(bins * np.arange(bins.size))
    with np.errstate(divide="ignore", invalid="ignore"):
        between = (moment[-1] * weight / weight[-1] - moment) ** 2 / (weight * (weight[-1] - weight))
    return float((np.nanargmax(between[:-1]) + 1) * step)


def _limits(bright: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    runs = np.lib.stride_tricks.sliding_window_view(bright, 4, axis).all(-1)
    size = bright.shape[axis]
    found = runs.any(axis)
    first = np.where(found, runs.argmax(axis), size)
    last = np.where(found, size - 1 - np.flip(runs, axis).argmax(axis), -1)
    return first, last


def numpy_metrics(image: np.ndarray) -> tuple[float, ...]:
    """Every MR number of a slice, phase along axis 0."""
    values = image.astype(np.float64)
    side = image.shape[0]
    counts = np.bincount(image.ravel())
    counts[0] = 0
    bright = image > int(0.5 * _otsu(counts))
    y, x = np.mgrid[0:side, 0:side]
    (r0, r1), (c0, c1) = _limits(bright, 1), _limits(bright, 0)
    hull = (x >= r0[:, None]) & (x <= r1[:, None]) & (y >= c0) & (y <= c1)
    e, g = side // 64, side // 32
    core = hull & (x >= r0[:, None] + e) & (x <= r1[:, None] - e) & (y >= c0 + e) & (y <= c1 - e)
    wide_r0 = np.min([np.roll(r0, k) for k in range(-g, g + 1)], 0) - g
    wide_r1 = np.max([np.roll(r1, k) for k in range(-g, g + 1)], 0) + g
    wide_c0 = np.min([np.roll(c0, k) for k in range(-g, g + 1)], 0) - g
    wide_c1 = np.max([np.roll(c1, k) for k in range(-g, g + 1)], 0) + g
    near = (x >= wide_r0[:, None]) & (x <= wide_r1[:, None]) & (y >= wide_c0) & (y <= wide_c1)
    air = ~near & ~hull & (image > 0)
    p02, median, p98 = np.percentile(values[core], (2, 50, 98))
    air_median = np.median(values[air])
    sigma = air_median / 1.1774
    inside = values[core]
    low, high = np.percentile(inside, (40, 75))
    white, grey = inside[inside >= high], inside[(inside >= low) & (inside < high)]
    inner = core.copy()
    inner[[0, -1]] = inner[:, [0, -1]] = False
    laplacian = (
        values[:-2, :-2] + values[:-2, 2:] + values[2:, :-2] + values[2:, 2:] + 4 * values[1:-1, 1:-1]
        - 2 * (values[:-2, 1:-1] + values[2:, 1:-1] + values[1:-1, :-2] + values[1:-1, 2:])
    )  # fmt: skip
    noise = np.sqrt(np.pi / 2) / 6 * np.abs(laplacian)[inner[1:-1, 1:-1]].mean()
    rows, columns = np.zeros_like(values), np.zeros_like(values)
    rows[1:-1], columns[:, 1:-1] = values[2:] - values[:-2], values[:, 2:] - values[:, :-2]
    magnitude = np.hypot(rows, columns)[inner] / 2 / p98
    sharpness = np.sort(magnitude)[-(magnitude.size // 5) :].mean()
    steps = np.abs(rows[inner])
    weights = steps[steps > 0] / steps.sum()
    entropy = -(weights * np.log(weights)).sum() / np.log(steps.size)
    smooth = np.log(1 - (np.diff(values, axis=0) ** 2)[inner[:-1]].mean() / (2 * inside.var()))
    crossing, clear = air & (c1 >= 0), air & (wide_c1 < g)
    ghost = values[crossing].mean() - values[clear].mean()
    shifted = air & np.roll(hull, side // 2, 0)
    half = values[shifted].mean() - values[air & ~shifted].mean()
    border = np.percentile(np.concatenate([values[:3], values[-3:]]), 80)
    pairs = air[:, :-1] & air[:, 1:]
    centred = values - air_median
    structure = (centred[:, :-1] * centred[:, 1:])[pairs].sum() / (centred[:, :-1][pairs] ** 2).sum()
    norm = np.sqrt((values**2).sum())
    ratio = values[values > 0] / norm
    efc = -(ratio * np.log(ratio)).sum()
    fber = (np.median(values[hull]) / max(np.median(values[~hull]), 1)) ** 2
    mass = values[hull]
    ys, xs = y[hull], x[hull]
    centre_y, centre_x = (mass * ys).sum() / mass.sum(), (mass * xs).sum() / mass.sum()
    moments = [(mass * a * b).sum() / mass.sum() for a, b in ((ys, ys), (ys, xs), (xs, xs))]
    blocks = values.reshape(side // 8, 8, side // 8, 8).mean((1, 3))
    return (
        entropy, noise, sharpness, float(hull.sum()), p02, median, sigma, white.mean() / white.std(), grey.std(),
        smooth, ghost, half, border, structure, efc, fber, centre_y, centre_x, *moments, blocks.mean(), values.max(),
    )  # fmt: skip


def _timed(function: Callable[[], object]) -> float:
    begin = time.perf_counter()
    function()
    return time.perf_counter() - begin


def _check(image: np.ndarray, sums: object) -> None:
    entropy, noise, sharpness, hull = numpy_metrics(image)[:4]
    pixels, total, logs = sums.edge.differences
    ours = (np.log(total) - logs / total) / np.log(pixels)
    lap = np.sqrt(np.pi / 2) / 6 * sums.edge.gradients.laplacian / sums.edge.gradients.pixels
    same = (
        np.isclose(ours, entropy, rtol=1e-9)
        and np.isclose(lap, noise, rtol=1e-9)
        and np.isclose(sums.edge.top_edge, sharpness, rtol=5e-3)
        and sums.histogram.head[0] == hull
    )
    if not same:
        raise SystemExit("The kernel and the numpy reference of this benchmark disagree.")


def run(*, quick: bool, say: Callable[[str], None]) -> list[Figure]:
    begin = time.perf_counter()
    warm_cache(user_cache())
    say(f"kernels ready after {time.perf_counter() - begin:.1f} s")
    from agent.qc_kernels.levels import Coding
    from agent.qc_kernels.loading import load_slice
    from agent.qc_kernels.records import Plan, Scaling, make_buffers
    from agent.qc_kernels.slices import sum_slice

    rounds = 3 if quick else 7
    plain = Coding(0, 0, 0, 1, 0, -(1 << 40))
    figures: list[Figure] = []
    for side in SIDES:
        rng = np.random.default_rng(SEED)
        images = [head(rng, side) for _ in range(SLICES // (4 if quick else 1))]
        buffers = make_buffers(side, side, 8)
        plan = Plan(0, -1, side // 64, side // 32, 8)

        def kernel(images: list[np.ndarray] = images, buffers=buffers, plan=plan) -> object:
            sums = None
            for image in images:
                loaded = load_slice(image, plain, False, buffers)
                scaling = Scaling(loaded.minimum, 0, loaded.maximum - loaded.minimum + 1, 0, float(-loaded.minimum))
                sums = sum_slice(buffers, False, scaling, plan)
            return sums

        def reference(images: list[np.ndarray] = images) -> None:
            for image in images:
                numpy_metrics(image)

        _check(images[-1], kernel())
        pairs = [(_timed(kernel), _timed(reference)) for _ in range(rounds)]
        scale = 1000 / len(images)
        ours = Figure(f"kernel {side}x{side}", "ms/slice", tuple(a * scale for a, _ in pairs), "lower")
        theirs = Figure(f"numpy {side}x{side}", "ms/slice", tuple(b * scale for _, b in pairs), "lower")
        figures += [ours, theirs, paired_ratio(f"numpy / kernel {side}x{side}", theirs, ours)]
        say(f"{side}: {ours.median:.2f} ms a slice, numpy {theirs.median:.1f}")
    return figures + _objects(rounds, say)


def _objects(rounds: int, say: Callable[[str], None]) -> list[Figure]:
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

    from agent.qc.image_headers import ImageHeaders
    from agent.qc.measure import measure_bytes

    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = MRImageStorage
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=["kernels"])
    ds.Modality, ds.ImageType, ds.InPlanePhaseEncodingDirection = "MR", ["ORIGINAL", "PRIMARY", "M"], "COL"
    ds.Rows = ds.Columns = 256
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
    ds.PixelSpacing, ds.SliceThickness = [1.0, 1.0], 2.0
    ds.ImagePositionPatient, ds.ImageOrientationPatient = [0, 0, 0], [1, 0, 0, 0, 1, 0]
    ds.PixelData = head(np.random.default_rng(SEED), 256).tobytes()
    ds["PixelData"].VR = "OW"
    buffer = BytesIO()
    ds.save_as(buffer, enforce_file_format=True)
    raw = buffer.getvalue()

    def measure() -> None:
        for number in range(10):
            measure_bytes(raw, number, ImageHeaders()).to_json()

    measure()
    figure = Figure("object 256x256", "ms/object", tuple(_timed(measure) * 100 for _ in range(rounds)), "lower")
    say(f"whole object: {figure.median:.2f} ms")
    return [figure]
