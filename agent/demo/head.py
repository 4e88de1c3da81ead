"""A head made of ellipsoids, and what a scanner would see of it.

Job: labels of tissue on a grid, signal by sequence and diffusion tensor, a receive coil's sensitivity, Rician noise.
Place: used by ``studies``; numpy only. It is a test object: plausible contrast and statistics, nobody's anatomy.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[np.uint8]
Signal = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Tissue:
    """What decides a tissue's signal at 3 T; times in ms, diffusivities in mm²/s.

    `axis` is the direction of fibres (patient axes) where the tissue has one; diffusion is then faster along it.
    """

    proton_density: float
    t1_ms: float
    t2_ms: float
    along: float
    across: float
    axis: tuple[float, float, float] | None = None


AIR, SKIN, SKULL, FLUID, CORTEX, NUCLEI, TRACT_AP, TRACT_LR, TRACT_SI = range(9)

TISSUES: tuple[Tissue, ...] = (
    Tissue(0.0, 1000, 50, 0.0, 0.0),
    Tissue(0.55, 500, 45, 2e-4, 2e-4),
    Tissue(0.08, 400, 20, 0.0, 0.0),
    Tissue(1.0, 4000, 1500, 3.0e-3, 3.0e-3),
    Tissue(0.85, 1400, 95, 0.85e-3, 0.85e-3),
    Tissue(0.80, 1150, 75, 0.75e-3, 0.75e-3),
    Tissue(0.70, 850, 72, 1.5e-3, 0.4e-3, (0.0, 1.0, 0.0)),
    Tissue(0.70, 850, 72, 1.6e-3, 0.35e-3, (1.0, 0.0, 0.0)),
    Tissue(0.70, 850, 72, 1.6e-3, 0.35e-3, (0.0, 0.0, 1.0)),
)


@dataclass(frozen=True, slots=True)
class Ellipsoid:
    """A part of the head: label, centre and half axes in mm (x left, y back, z up); `folds` wrinkles its surface."""

    label: int
    centre: tuple[float, float, float]
    half: tuple[float, float, float]
    folds: float = 0.0


# painted in this order
HEAD: tuple[Ellipsoid, ...] = (
    Ellipsoid(SKIN, (0, 0, -4), (70, 86, 80)),
    Ellipsoid(SKULL, (0, 0, -2), (66, 82, 76)),
    Ellipsoid(FLUID, (0, 0, -2), (61, 77, 71)),
    Ellipsoid(CORTEX, (0, 0, -1), (59, 75, 69), 0.03),
    Ellipsoid(TRACT_AP, (0, 0, 0), (51, 66, 60), 0.06),
    Ellipsoid(TRACT_SI, (24, 5, 10), (11, 20, 36)),
    Ellipsoid(TRACT_SI, (-24, 5, 10), (11, 20, 36)),
    Ellipsoid(TRACT_LR, (0, 2, 20), (22, 34, 8)),
    Ellipsoid(FLUID, (10, 0, 12), (5, 26, 8)),
    Ellipsoid(FLUID, (-10, 0, 12), (5, 26, 8)),
    Ellipsoid(FLUID, (0, 8, -2), (2, 12, 9)),
    Ellipsoid(NUCLEI, (12, 8, 0), (8, 13, 9)),
    Ellipsoid(NUCLEI, (-12, 8, 0), (8, 13, 9)),
    Ellipsoid(NUCLEI, (23, -4, 0), (6, 16, 9)),
    Ellipsoid(NUCLEI, (-23, -4, 0), (6, 16, 9)),
    Ellipsoid(TRACT_SI, (0, 16, -36), (11, 11, 28)),
    Ellipsoid(CORTEX, (0, 42, -38), (40, 24, 20), 0.05),
    Ellipsoid(TRACT_LR, (0, 40, -38), (24, 12, 10)),
)


@dataclass(frozen=True, slots=True)
class Grid:
    """An axial stack around the origin: slices, rows and columns, spacing in mm."""

    slices: int
    matrix: int
    pixel_mm: float
    step_mm: float

    def axes(self) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        """Return z, y and x of the voxel centres, each broadcastable to (slices, rows, columns)."""
        z = (np.arange(self.slices, dtype=np.float32) - (self.slices - 1) / 2) * self.step_mm
        in_plane = (np.arange(self.matrix, dtype=np.float32) - (self.matrix - 1) / 2) * self.pixel_mm
        return z[:, None, None], in_plane[None, :, None], in_plane[None, None, :]

    def position(self, index: int) -> tuple[float, float, float]:
        """Return Image Position (Patient) of slice `index`."""
        corner = -(self.matrix - 1) / 2 * self.pixel_mm
        return corner, corner, (index - (self.slices - 1) / 2) * self.step_mm


def paint(grid: Grid, rng: np.random.Generator) -> Labels:
    """Return the tissue of each voxel, (slices, rows, columns) uint8; `rng` varies the head a little."""
    z, y, x = grid.axes()
    labels: Labels = np.zeros((grid.slices, grid.matrix, grid.matrix), np.uint8)
    scale = (1 + rng.normal(0, 0.02, 3)).astype(np.float32)
    phase = rng.uniform(0, 2 * np.pi, 3)
    turn = np.arctan2(y, x)
    for part in HEAD:
        a, b, c = (half * s for half, s in zip(part.half, scale, strict=True))
        dx, dy, dz = x - part.centre[0], y - part.centre[1], z - part.centre[2]
        radius = np.sqrt((dx / a) ** 2 + (dy / b) ** 2 + (dz / c) ** 2)
        if part.folds:
            waves = np.sin(11 * turn + phase[0] + 0.10 * z) + np.sin(17 * turn + phase[1] - 0.13 * z)
            radius = radius * (1 + part.folds * waves + part.folds * np.sin(0.45 * z + phase[2]))
        labels[radius < 1] = part.label
    return labels


def coil(grid: Grid) -> Signal:
    """Return a smooth sensitivity around 1, strongest near the surface at the back."""
    z, y, x = grid.axes()
    half = grid.matrix * grid.pixel_mm / 2
    field = 1 + 0.12 * (y / half) + 0.10 * ((x / half) ** 2 + (y / half) ** 2) - 0.05 * (z / half) ** 2
    return np.asarray(field, np.float32)


def spin_echo(tr_ms: float, te_ms: float) -> NDArray[np.float32]:
    """Return the signal of each tissue in a spin echo: ``PD (1 - exp(-TR/T1)) exp(-TE/T2)``."""
    rows = [t.proton_density * (1 - np.exp(-tr_ms / t.t1_ms)) * np.exp(-te_ms / t.t2_ms) for t in TISSUES]
    return np.array(rows, np.float32)


def attenuation(b_value: float, direction: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return the loss of each tissue's signal by diffusion: ``exp(-b gᵀ D g)``, D axially symmetric."""
    rows = []
    for tissue in TISSUES:
        along = 0.0 if tissue.axis is None else float(np.dot(tissue.axis, direction)) ** 2
        rows.append(np.exp(-b_value * (tissue.across + (tissue.along - tissue.across) * along)))
    return np.array(rows, np.float32)


def directions(count: int) -> NDArray[np.float64]:
    """Return unit vectors spread evenly over half a sphere (golden spiral), (count, 3)."""
    index = np.arange(count) + 0.5
    height = 1 - index / count
    angle = np.pi * (1 + 5**0.5) * index
    ring = np.sqrt(1 - height**2)
    return np.stack([ring * np.cos(angle), ring * np.sin(angle), height], axis=1)


def soften(volume: Signal) -> Signal:
    """Blur in the plane with [1 2 1]/4 along rows and columns: the voxels' partial volumes."""
    for axis in (1, 2):
        volume = (np.roll(volume, 1, axis) + 2 * volume + np.roll(volume, -1, axis)) / np.float32(4)
    return volume


def scan(signal: Signal, sigma: float, rng: np.random.Generator) -> NDArray[np.uint16]:
    """Return magnitude images with Rician noise of `sigma`, as 12-bit integers."""
    real = signal + sigma * rng.standard_normal(signal.shape, dtype=np.float32)
    imaginary = sigma * rng.standard_normal(signal.shape, dtype=np.float32)
    magnitude: Signal = np.hypot(real, imaginary)
    return np.clip(np.rint(magnitude), 0, 4095).astype(np.uint16)
