"""Compile or load every kernel once.

Job: run each kernel on a tiny slice with every signature that measuring uses, so that no object waits for the compiler.
Place: called by `agent.qc.worker.warm_worker`, under the lock of `agent.qc_kernels.cache` when it compiles. It must
never leave a signature out: a later compilation would change the cache that the manifest describes.
"""

from __future__ import annotations

import numpy as np

from agent.qc_kernels.levels import Coding
from agent.qc_kernels.loading import load_slice
from agent.qc_kernels.records import HounsfieldPlan, Plan, Scaling, make_buffers
from agent.qc_kernels.slices import sum_hounsfield, sum_slice

SIDE = 32
DTYPES = ("u2", "i2", "i8")


def warm_up() -> None:
    """Run every kernel on every pixel type that `load_slice` hands on."""
    buffers = make_buffers(SIDE, SIDE, 8)
    ramp = np.arange(SIDE * SIDE, dtype=np.int64).reshape(SIDE, SIDE) % 100
    plain = Coding(0, 0, 0, 1, 0, -(1 << 40))
    padded = Coding(0, 127, 0, 3, 4, -(1 << 40))
    for dtype in DTYPES:
        pixels = ramp.astype(dtype)
        load_slice(pixels, plain, False, buffers)
        load_slice(pixels, padded, True, buffers)
    scaling = Scaling(0, 0, 100, 0, 0.0)
    sum_slice(buffers, False, scaling, Plan(0, -1, 1, 1, 8))
    sum_slice(buffers, True, scaling, Plan(1, 10, 1, 1, 8))
    sum_hounsfield(buffers, 100, HounsfieldPlan(5, 0.0, 99.0, -1.0, 99.0, 4.0, 90, 10, 2))
