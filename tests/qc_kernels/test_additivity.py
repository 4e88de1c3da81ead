"""Sums of parts add up to the sums of the whole, in any order."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from agent.qc.measurement import ClassSums
from agent.qc_kernels.histograms import count_levels, find_quantile, sum_counts


def count(values: np.ndarray) -> np.ndarray:
    table = np.zeros((4, 65_536), np.uint32)
    count_levels(values.reshape(1, -1), table, 4096)
    return table[0]


@given(seed=st.integers(0, 10_000), cuts=st.lists(st.integers(0, 500), max_size=4), data=st.data())
def test_histograms_add_over_any_split_in_any_order(seed, cuts, data):
    values = np.random.default_rng(seed).integers(0, 4096, 500).astype(np.uint16)
    parts = data.draw(st.permutations(np.split(values, sorted(cuts))))
    merged = sum((count(part) for part in parts if part.size), np.zeros(65_536, np.uint32))
    assert (merged == count(values)).all()
    assert tuple(sum_counts(merged, 4096)) == (500, values.sum(dtype=int), (values.astype(int) ** 2).sum())
    assert find_quantile(merged, 4096, 0.5) == find_quantile(count(values), 4096, 0.5)


@given(seed=st.integers(0, 10_000), cut=st.integers(1, 499))
def test_class_sums_give_the_mean_and_spread_of_the_union(seed, cut):
    values = np.random.default_rng(seed).integers(-2000, 4000, 500)
    parts = [ClassSums(p.size, int(p.sum()), int((p**2).sum())) for p in (values[:cut], values[cut:])]
    count_, total, squares = (sum(getattr(p, name) for p in parts) for name in ("count", "total", "squares"))
    assert total / count_ == values.mean()
    assert np.isclose((squares - total**2 / count_) / (count_ - 1), values.var(ddof=1), rtol=1e-12)
