"""Sums of a slice equal the float64 reference."""

from __future__ import annotations

import numpy as np
import pytest

from agent.qc_kernels.levels import Coding
from agent.qc_kernels.loading import load_slice
from agent.qc_kernels.masks import AIR, CORE, RIM
from agent.qc_kernels.records import Plan, Scaling, make_buffers
from agent.qc_kernels.slices import sum_slice
from tests.qc_kernels import reference

PLAIN = Coding(0, 0, 0, 1, 0, -(1 << 40))
PLAN = Plan(0, -1, 2, 4, 8)


def measure(image: np.ndarray, plan: Plan = PLAN):
    buffers = make_buffers(*image.shape, plan.block_edge)
    loaded = load_slice(np.ascontiguousarray(image), PLAIN, False, buffers)
    size = loaded.maximum - loaded.minimum + 1
    zero = -loaded.minimum if loaded.minimum <= 0 else -1
    scaling = Scaling(loaded.minimum, 0, size, zero, float(-loaded.minimum))
    return sum_slice(buffers, loaded.padded > 0, scaling, plan), buffers, loaded


@pytest.fixture(params=range(4))
def image(request) -> np.ndarray:
    rng = np.random.default_rng(request.param)
    return reference.head_phantom(rng, side=64 + 16 * request.param, noise=3.0 + 4 * request.param)


def masks(image, buffers, sums):
    level = int(0.5 * sums.histogram.threshold)
    return reference.hull(image - int(image.min()) > level)


def test_the_mask_is_the_orthogonal_hull(image):
    sums, buffers, _ = measure(image)
    hull, by_row, by_column = masks(image, buffers, sums)
    assert (np.isin(buffers.labels, (RIM, CORE)) == hull).all()
    assert ((buffers.labels == CORE) == (reference.erode(by_row, by_column, 2) & hull)).all()


def test_histogram_sums_are_exact(image):
    sums, buffers, loaded = measure(image)
    values = image.astype(np.int64) - loaded.minimum
    for found, chosen in (
        (sums.histogram.all, np.ones(image.shape, bool)),
        (sums.histogram.head, np.isin(buffers.labels, (RIM, CORE))),
        (sums.histogram.core, buffers.labels == CORE),
        (sums.histogram.air, (buffers.labels == AIR) & (image != 0)),
    ):
        assert tuple(found) == (chosen.sum(), values[chosen].sum(), (values[chosen] ** 2).sum())


def test_quantiles_follow_their_definition(image):
    sums, buffers, loaded = measure(image)
    core = image.astype(np.int64)[buffers.labels == CORE] - loaded.minimum
    assert sums.histogram.core_median == pytest.approx(reference.quantile(core, 0.5), rel=1e-9)
    assert sums.histogram.core_p98 == pytest.approx(reference.quantile(core, 0.98), rel=1e-9)


def test_otsu_maximises_the_variance_between_classes():
    rng = np.random.default_rng(7)
    image = np.clip(
        np.round(np.where(rng.random((64, 64)) < 0.6, rng.normal(40, 9, (64, 64)), rng.normal(150, 20, (64, 64)))),
        1,
        250,
    )
    image[0, 0], image[0, 1] = 1, 250
    sums, _, loaded = measure(image.astype("u2"))
    assert sums.histogram.threshold + loaded.minimum == reference.otsu(image.astype(int))


@pytest.mark.parametrize("axis", [0, 1])
def test_gradient_sums_and_entropy_are_exact(image, axis):
    sums, buffers, _ = measure(image, PLAN._replace(phase_axis=axis))
    core = buffers.labels == CORE
    core[[0, -1]] = core[:, [0, -1]] = False
    wide = image.astype(np.int64)
    gradient = reference.central_gradients(wide)[axis][core]
    pixels, total, logs = sums.edge.differences
    assert (pixels, total) == (core.sum(), np.abs(gradient).sum())
    entropy = (np.log(total) - logs / total) / np.log(pixels)
    assert entropy == pytest.approx(reference.gradient_entropy(gradient), rel=1e-9)
    down = np.roll(wide, -1, 0) - wide
    right = np.roll(wide, -1, 1) - wide
    assert sums.edge.gradients.rows_squared == (down[core] ** 2).sum()
    assert sums.edge.gradients.columns_squared == (right[core] ** 2).sum()


def test_noise_and_sharpness_agree_with_the_reference(image):
    sums, buffers, loaded = measure(image)
    core = buffers.labels == CORE
    noise = np.sqrt(np.pi / 2) * sums.edge.gradients.laplacian / (6 * sums.edge.gradients.pixels)
    assert noise == pytest.approx(reference.immerkaer(image, core), rel=1e-9)
    p98 = sums.histogram.core_p98 + loaded.minimum
    # magnitudes are binned: half a bin is 1/4096
    assert sums.edge.top_edge == pytest.approx(reference.edge_strength(image.astype(float), core, p98), abs=1 / 4096)


def test_focus_entropy_agrees_with_the_reference(image):
    sums, _, _ = measure(image)
    first, second, logs = sums.histogram.entropy
    norm = np.sqrt(second)
    most = np.sqrt(image.size) * np.log(np.sqrt(image.size))
    assert (first * np.log(norm) - logs) / norm / most == pytest.approx(reference.focus_entropy(image), rel=1e-9)


def test_moments_and_blocks_agree_with_numpy(image):
    sums, buffers, loaded = measure(image)
    head = np.isin(buffers.labels, (RIM, CORE))
    y, x = np.nonzero(head)
    weights = image[head].astype(float)
    mass = sums.mass
    assert mass.mass == weights.sum()
    assert mass.row == pytest.approx((weights * y).sum(), rel=1e-12)
    assert mass.row_column == pytest.approx((weights * y * x).sum(), rel=1e-12)
    assert mass.column_column == pytest.approx((weights * x * x).sum(), rel=1e-12)
    side = image.shape[0]
    blocks = image.reshape(side // 8, 8, side // 8, 8).mean((1, 3))
    assert buffers.blocks + loaded.minimum == pytest.approx(blocks, rel=1e-12)


@pytest.mark.parametrize("axis", [0, 1])
def test_air_sums_split_all_air_by_place(image, axis):
    sums, buffers, loaded = measure(image, PLAN._replace(phase_axis=axis))
    air = (buffers.labels == AIR) & (image != 0)
    head = np.isin(buffers.labels, (RIM, CORE))
    lines = head.any(axis)
    _, by_row, by_column = masks(image, buffers, sums)
    crossing = (by_column if axis == 0 else by_row)[:, 1] >= 0
    inside = air & (crossing[None, :] if axis == 0 else crossing[:, None])
    assert (lines <= crossing).all()
    values = image.astype(np.int64) - loaded.minimum
    assert (sums.air.crossing_count, sums.air.crossing_total) == (inside.sum(), values[inside].sum())
    shifted = air & np.roll(head, head.shape[axis] // 2, axis)
    assert (sums.air.shifted_count, sums.air.shifted_total) == (shifted.sum(), values[shifted].sum())
    assert sums.air.shifted_count + sums.air.unshifted_count == air.sum()


def test_the_same_slice_gives_the_same_bits_every_time(image):
    first, _, _ = measure(image)
    measure(np.roll(image, 5, 0))
    again, _, _ = measure(image)
    assert first == again


def test_sums_do_not_depend_on_the_stored_type(image):
    expected, _, _ = measure(image)
    for dtype in ("i2", "u4", "i4"):
        found, _, _ = measure(image.astype(dtype))
        assert found == expected


def test_the_transposed_slice_gives_the_transposed_sums(image):
    here, _, _ = measure(image, PLAN._replace(phase_axis=0))
    there, _, _ = measure(np.ascontiguousarray(image.T), PLAN._replace(phase_axis=1))
    assert here.histogram.head == there.histogram.head
    assert here.air == there.air
    assert here.edge.differences == there.edge.differences
    assert here.edge.gradients.rows_squared == there.edge.gradients.columns_squared


def test_slices_without_foreground_or_with_foreground_alone_are_measured():
    for image in (np.zeros((32, 32), "u2"), np.full((32, 32), 500, "u2"), np.eye(32, dtype="u2") * 100):
        image[0, 0] = 1
        measure(image)
