"""How every kernel of this package is compiled.

Job: one decorator, so that all kernels share the same flags. Place: imported by the kernel modules only; importing it
imports numba, therefore `agent.qc_kernels.cache` must have set the cache folder before. It must never enable
``fastmath`` or ``parallel``: results have to be the same to the last digit on every run.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar, cast

import numba
import numpy as np

_P = ParamSpec("_P")
_R = TypeVar("_R")


# inside a kernel these are numpy's types; the type checker need not tell them from int
int32: Callable[[object], int] = cast("Callable[[object], int]", np.int32)
int64: Callable[[object], int] = cast("Callable[[object], int]", np.int64)


def kernel(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Compile on first call, keep the machine code on disk, release the interpreter lock while running."""
    compiled: Callable[_P, _R] = numba.njit(cache=True, nogil=True)(function)
    return compiled
