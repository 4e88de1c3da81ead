"""Kernels of quality control: arrays in, numbers out, with numpy and numba only."""
