"""Stored pixels of every type become levels and come back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.qc_kernels.levels import Coding
from agent.qc_kernels.loading import load_slice
from agent.qc_kernels.records import make_buffers

PLAIN = Coding(0, 0, 0, 1, 0, -(1 << 40))
DTYPES = ["u1", "i1", "u2", "i2", "u4", "i4"]
BUFFERS = make_buffers(16, 16, 8)


def stored(pixels: np.ndarray, coding: Coding = PLAIN) -> tuple[np.ndarray, np.ndarray]:
    loaded = load_slice(pixels, coding, False, BUFFERS)
    values = (BUFFERS.levels.astype(np.int64) << loaded.shift) + loaded.minimum
    return values, BUFFERS.padding.astype(bool)


@pytest.mark.parametrize("dtype", DTYPES)
@given(seed=st.integers(0, 10_000), data=st.data())
def test_every_type_survives_the_way_to_levels_and_back(dtype, seed, data):
    info = np.iinfo(dtype)
    low = data.draw(st.integers(int(info.min), int(info.max)))
    high = data.draw(st.integers(low, min(int(info.max), low + 65_535)))
    pixels = np.random.default_rng(seed).integers(low, high + 1, (16, 16)).astype(dtype)
    values, padding = stored(pixels)
    assert (values == pixels).all()
    assert not padding.any()


def test_a_range_beyond_sixteen_bits_loses_no_more_than_its_shift():
    pixels = np.random.default_rng(1).integers(-(2**31), 2**31, (16, 16)).astype("i4")
    loaded = load_slice(pixels, PLAIN, False, BUFFERS)
    values, _ = stored(pixels)
    assert loaded.shift == 16
    assert (pixels - values >= 0).all()
    assert (pixels - values < 1 << loaded.shift).all()


@pytest.mark.parametrize("dtype", ["u2", "i2"])
def test_bits_above_high_bit_are_masked_and_counted(dtype):
    clean = np.random.default_rng(2).integers(0, 4096, (16, 16))
    dirty = (clean | 0xA000).astype("u2").view(dtype)
    coding = Coding(0, 0xFFF, 0, 1, 0, -(1 << 40))
    loaded = load_slice(dirty, coding, False, BUFFERS)
    assert loaded.junk == 256
    assert (stored(dirty, coding)[0] == clean).all()


def test_twelve_bit_signed_values_get_their_sign_back():
    clean = np.random.default_rng(3).integers(-2048, 2048, (16, 16))
    unextended = (clean & 0xFFF).astype("u2").view("i2")
    values, _ = stored(unextended, Coding(0, 0xFFF, 0x800, 1, 0, -(1 << 40)))
    assert (values == clean).all()


def test_padding_is_marked_and_does_not_set_the_range():
    pixels = np.random.default_rng(4).integers(0, 1000, (16, 16)).astype("i2")
    pixels[:4] = -2000
    pixels[4] = -1995
    loaded = load_slice(pixels, Coding(0, 0, 0, -2000, -1990, -(1 << 40)), False, BUFFERS)
    assert loaded.padded == 80
    assert loaded.minimum >= 0
    assert BUFFERS.padding.astype(bool)[:5].all()


def test_a_slice_of_padding_alone_has_no_valid_pixel():
    pixels = np.full((16, 16), -2000, "i2")
    assert load_slice(pixels, Coding(0, 0, 0, -2000, -2000, -(1 << 40)), False, BUFFERS).valid == 0


def test_constant_corners_of_a_disc_become_padding_and_others_do_not():
    buffers = make_buffers(64, 64, 8)
    y, x = np.mgrid[0:64, 0:64] - 31.5
    pixels = np.where(y * y + x * x > 32.5**2, 0, 700 + x * 3).astype("i2")
    assert load_slice(pixels, PLAIN, True, buffers).padded == int((y * y + x * x > 32.5**2).sum())
    pixels[0, 0] = 5
    assert load_slice(pixels, PLAIN, True, buffers).padded == 0
