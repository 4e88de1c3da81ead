"""Where the slices of an object lie: orientation, positions, tiles of mosaics and grids.

Job: turn headers into one `Tile` a slice. Place: called by `frames` and `pixels`. It must never guess: an object whose
tiling cannot be derived from its own header stays one frame.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from pydicom.dataset import Dataset

from agent.qc.reading.csa import csa_floats, read_csa
from agent.qc.reading.values import codes_of, float_of, floats_of, int_of, private_int, private_items, private_text

UIH = "Image Private Header"
MAX_TILES = 4096
Vector3 = tuple[float, float, float]
Vector6 = tuple[float, float, float, float, float, float]


@dataclass(frozen=True, slots=True)
class Tiling:
    """How one picture holds several slices, row by row from the top left.

    Attributes
    ----------
    layout : str
        ``single``, ``mosaic`` or ``grid``.
    count, across : int
        Slices, and slices side by side.
    rows, columns : int
        Size of one slice.
    """

    layout: str
    count: int
    across: int
    rows: int
    columns: int

    def origin(self, index: int) -> tuple[int, int]:
        """First row and column of a slice."""
        return index // self.across * self.rows, index % self.across * self.columns


def find_tiling(ds: Dataset) -> Tiling:
    """Find out whether the picture is a Siemens mosaic or a UIH grid, by private creator."""
    rows, columns = int_of(ds, "Rows") or 0, int_of(ds, "Columns") or 0
    single = Tiling("single", 1, 1, rows, columns)
    kind = codes_of(ds, "ImageType")
    if "MOSAIC" in kind:
        count = private_int(ds, 0x0019, "SIEMENS MR HEADER", 0x0A, "US") or 0
        if not count:
            images = csa_floats(read_csa(ds), "NumberOfImagesInMosaic")
            count = int(images[0]) if images else 0
        side = math.isqrt(count - 1) + 1 if 0 < count <= MAX_TILES else 0
        if side and rows % side == 0 and columns % side == 0:
            return Tiling("mosaic", count, side, rows // side, columns // side)
    if "VFRAME" in kind:
        return _find_grid(ds, rows, columns) or single
    return single


def _find_grid(ds: Dataset, rows: int, columns: int) -> Tiling | None:
    count = len(private_items(ds, 0x0065, UIH, 0x51)) or private_int(ds, 0x0065, UIH, 0x50, "DS") or 0
    if not 1 < count <= MAX_TILES:
        return None
    matrix = private_text(ds, 0x0065, UIH, 0x04).lower().split("*")
    sides = [int(part) for part in matrix if part.isdigit()]
    if len(sides) == 2 and all(sides):
        tile_rows, tile_columns = sides
        if rows % tile_rows == 0 and columns % tile_columns == 0:
            across, down = columns // tile_columns, rows // tile_rows
            if across * (down - 1) < count <= across * down:
                return Tiling("grid", count, across, tile_rows, tile_columns)
    candidates = [
        Tiling("grid", count, across, rows // down, columns // across)
        for across in range(1, count + 1)
        for down in (-(-count // across),)
        if columns % across == 0 and rows % down == 0
    ]
    square = [tiling for tiling in candidates if tiling.rows == tiling.columns]
    return square[0] if len(square) == 1 else None


def orientation_of(ds: Dataset) -> Vector6 | None:
    """Row and column direction if they are six usable numbers of about unit length."""
    numbers = floats_of(ds, "ImageOrientationPatient")
    if len(numbers) != 6:
        return None
    row, column = math.hypot(*numbers[:3]), math.hypot(*numbers[3:])
    if not (0.5 < row < 1.5 and 0.5 < column < 1.5):
        return None
    a, b, c, d, e, f = numbers
    return (a, b, c, d, e, f)


def normal_of(orientation: Vector6 | None) -> Vector3 | None:
    """Unit vector ``row × column``."""
    if orientation is None:
        return None
    a, b, c, d, e, f = orientation
    x, y, z = b * f - c * e, c * d - a * f, a * e - b * d
    length = math.sqrt(x * x + y * y + z * z)
    return (x / length, y / length, z / length) if length > 0.1 else None


def position_of(ds: Dataset) -> Vector3 | None:
    """Position of the first pixel, if it is three numbers."""
    numbers = floats_of(ds, "ImagePositionPatient")
    return (numbers[0], numbers[1], numbers[2]) if len(numbers) == 3 else None


def project(position: Vector3 | None, normal: Vector3 | None) -> float | None:
    """Distance along the normal."""
    if position is None or normal is None:
        return None
    return sum(p * n for p, n in zip(position, normal, strict=True))


def tile_positions(ds: Dataset, tiling: Tiling, orientation: Vector6 | None) -> list[Vector3 | None]:
    """Position of each slice of a picture.

    A Siemens mosaic's position is that of a single slice as large as the whole mosaic, with the same centre as the
    first slice; UIH writes the position of each slice into a private sequence.
    """
    origin = position_of(ds)
    if tiling.layout == "grid":
        found = [position_of(item) for item in private_items(ds, 0x0065, UIH, 0x51)]
        return (found + [None] * tiling.count)[: tiling.count]
    if tiling.layout == "single":
        return [origin]
    spacing, step = floats_of(ds, "PixelSpacing"), float_of(ds, "SpacingBetweenSlices")
    normal = normal_of(orientation)
    if origin is None or orientation is None or normal is None or len(spacing) != 2 or step is None:
        return [None] * tiling.count
    across = (int_of(ds, "Columns") or 0) - tiling.columns
    down = (int_of(ds, "Rows") or 0) - tiling.rows
    first = [
        origin[i] + 0.5 * (across * spacing[1] * orientation[i] + down * spacing[0] * orientation[3 + i])
        for i in range(3)
    ]
    sign = _mosaic_sign(ds, normal)
    return [
        (
            first[0] + sign * k * step * normal[0],
            first[1] + sign * k * step * normal[1],
            first[2] + sign * k * step * normal[2],
        )
        for k in range(tiling.count)
    ]


def _mosaic_sign(ds: Dataset, normal: Vector3) -> float:
    written = csa_floats(read_csa(ds), "SliceNormalVector")
    if len(written) != 3:
        return 1.0
    return 1.0 if sum(a * b for a, b in zip(written, normal, strict=True)) >= 0 else -1.0
