"""A reference analysis service: a program of its own that knows nothing but the published bucket contract.

Job: watch the bucket, check the manifest and every object's SHA-256, measure the images plainly, and write status,
report (PDF, JSON, PNG) or failure. Place: started beside the agent by the demo and by tests; imports nothing of the
agent, so that it proves that ``docs/cloud-contract.md`` is enough to build such a service. It must never look like a
diagnosis.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import re
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

import boto3
import numpy as np
import pydicom
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from fpdf import FPDF
from numpy.typing import NDArray
from PIL import Image

CONTRACT = "imaging-agent/1"
NOTICE = "Demonstration only. This is not a diagnosis and must not be used for patient care."
_ORDER = re.compile(r"^studies/([0-9a-f-]{36})/$")
_TILES, _TILE = 16, 96
_STEPS = 20  # status updates while processing
_BINS = 65_536


class OrderFailed(Exception):
    """An order that cannot be analysed; class, description and remediation of ``failure.json``."""

    def __init__(self, category: str, description: str, remediation: str) -> None:
        super().__init__(category)
        self.category, self.description, self.remediation = category, description, remediation


class OrderVoid(Exception):
    """The order was cancelled."""


class Bucket:
    """The bucket of the contract."""

    def __init__(self, endpoint: str, name: str, region: str) -> None:
        config = Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 3}, proxies={})
        self._client = boto3.client("s3", endpoint_url=endpoint or None, region_name=region, config=config)
        self._name = name

    def orders(self) -> Iterator[str]:
        """Yield the orders that have at least one object."""
        pages = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=self._name, Prefix="studies/", Delimiter="/"
        )
        for page in pages:
            for item in page.get("CommonPrefixes", []):
                if found := _ORDER.match(str(item.get("Prefix", ""))):
                    yield found.group(1)

    def read(self, key: str) -> bytes | None:
        """Return an object; None when it is not there."""
        try:
            return self._client.get_object(Bucket=self._name, Key=key)["Body"].read()
        except ClientError as error:
            if error.response["Error"]["Code"] in {"NoSuchKey", "404"}:
                return None
            raise

    def write(self, key: str, data: bytes, media_type: str) -> None:
        """Write an object."""
        self._client.put_object(Bucket=self._name, Key=key, Body=data, ContentType=media_type)

    def write_json(self, key: str, value: dict[str, Any]) -> None:
        """Write an object as JSON."""
        self.write(key, json.dumps(value, indent=1).encode(), "application/json")


@dataclass
class SeriesFigures:
    """What is summed up for one series."""

    number: int
    modality: str
    images: int = 0
    pixels: int = 0
    total: float = 0.0
    squares: float = 0.0
    histogram: NDArray[np.int64] = field(default_factory=lambda: np.zeros(_BINS, np.int64))
    by_b_value: dict[int, list[float]] = field(default_factory=dict)
    tiles: dict[float, tuple[int, NDArray[np.uint16]]] = field(default_factory=dict)

    def add(self, image: NDArray[np.float64], b_value: float | None, position: float) -> None:
        """Add one image."""
        inside = image[image > 0.2 * np.percentile(image, 99)]
        self.images += 1
        self.pixels += inside.size
        self.total += float(inside.sum())
        self.squares += float(np.square(inside).sum())
        counted = np.clip(inside, 0, _BINS - 1).astype(np.int64)
        self.histogram += np.bincount(counted.ravel(), minlength=_BINS)
        weighting = round(b_value or 0)
        if b_value is not None:
            self.by_b_value.setdefault(weighting, []).append(float(inside.mean()) if inside.size else 0.0)
        kept = self.tiles.get(position)
        if kept is None or weighting < kept[0]:
            step = max(1, max(image.shape) // (2 * _TILE))
            self.tiles[position] = (weighting, np.clip(image[::step, ::step], 0, _BINS - 1).astype(np.uint16))

    def figures(self) -> dict[str, Any]:
        """Return the numbers of the report."""
        mean = self.total / self.pixels if self.pixels else 0.0
        spread = max(0.0, self.squares / self.pixels - mean * mean) ** 0.5 if self.pixels else 0.0
        cumulated = np.cumsum(self.histogram)
        shares = {f"p{p}": int(np.searchsorted(cumulated, self.pixels * p / 100)) for p in (5, 25, 50, 75, 95)}
        return {
            "series": self.number,
            "modality": self.modality,
            "images": self.images,
            "mean": round(mean, 3),
            "sd": round(spread, 3),
            "percentiles": shares,
            "mean_by_b_value": {str(b): round(float(np.mean(v)), 3) for b, v in sorted(self.by_b_value.items())},
        }

    def montage(self) -> bytes:
        """Return a PNG of slices over the whole range."""
        order = sorted(self.tiles)
        chosen = [order[round(i)] for i in np.linspace(0, len(order) - 1, min(_TILES, len(order)))]
        top = max(float(np.percentile(self.tiles[p][1], 99.5)) for p in chosen) or 1.0
        canvas = Image.new("L", (4 * _TILE, -(-len(chosen) // 4) * _TILE))
        for index, position in enumerate(chosen):
            grey = np.clip(self.tiles[position][1] * (255.0 / top), 0, 255).astype(np.uint8)
            tile = Image.fromarray(grey).resize((_TILE, _TILE))
            canvas.paste(tile, (index % 4 * _TILE, index // 4 * _TILE))
        stream = io.BytesIO()
        canvas.save(stream, "PNG")
        return stream.getvalue()


def frames_of(ds: pydicom.Dataset) -> Iterator[tuple[NDArray[np.float64], float | None, float]]:
    """Yield each frame in real units with its b value and its position along the slice normal."""
    pixels = ds.pixel_array.astype(np.float64)
    if int(ds.get("SamplesPerPixel", 1)) > 1:
        pixels = pixels.mean(axis=-1)
    pixels = pixels * float(ds.get("RescaleSlope", 1) or 1) + float(ds.get("RescaleIntercept", 0) or 0)
    pixels = pixels[None] if pixels.ndim == 2 else pixels
    groups = ds.get("PerFrameFunctionalGroupsSequence") or [None] * len(pixels)
    for index, (frame, group) in enumerate(zip(pixels, groups, strict=False)):
        diffusion = (group.get("MRDiffusionSequence") or [None])[0] if group is not None else ds
        b_value = diffusion.get("DiffusionBValue") if diffusion is not None else None
        yield frame, None if b_value is None else float(b_value), _position(ds) + 1e-3 * index


def _position(ds: pydicom.Dataset) -> float:
    origin, axes = ds.get("ImagePositionPatient"), ds.get("ImageOrientationPatient")
    if not origin or not axes:
        return float(ds.get("InstanceNumber", 0) or 0)
    normal = np.cross([float(v) for v in axes[:3]], [float(v) for v in axes[3:]])
    return round(float(np.dot(normal, [float(v) for v in origin])), 2)


class Service:
    """Watches the bucket and analyses orders one after the other."""

    def __init__(self, bucket: Bucket, poll_s: float, stop: threading.Event, parent: int) -> None:
        self._bucket, self._poll_s, self._stop, self._parent = bucket, poll_s, stop, parent
        self._finished: set[str] = set()

    def run(self) -> None:
        """Work until told to stop or the parent is gone."""
        while not self._stop.is_set() and os.getppid() == self._parent:
            try:
                self.look()
            except (BotoCoreError, ClientError, OSError) as error:
                _tell(f"analysis: the bucket does not answer ({type(error).__name__}); trying again")
            self._stop.wait(self._poll_s)

    def look(self) -> None:
        """Analyse every order that is committed and not finished."""
        for order in self._bucket.orders():
            if order in self._finished or self._stop.is_set():
                continue
            if self._is_over(order):
                self._finished.add(order)
                continue
            manifest = self._bucket.read(f"studies/{order}/manifest.json")
            if manifest is not None:
                self._handle(order, manifest)

    def _is_over(self, order: str) -> bool:
        if self._is_cancelled(order):
            return True
        status = self._bucket.read(f"results/{order}/status.json")
        return status is not None and json.loads(status).get("status") in {"done", "failed"}

    def _is_cancelled(self, order: str) -> bool:
        return self._bucket.read(f"studies/{order}/cancel.json") is not None

    def _handle(self, order: str, manifest: bytes) -> None:
        try:
            self._say(order, "accepted", 0, "order accepted")
            series = self._measure(order, _checked_manifest(order, manifest))
            self._report(order, series)
            _tell(f"analysis: order {order} done")
        except OrderVoid:
            _tell(f"analysis: order {order} was cancelled")
        except OrderFailed as failure:
            text = {"class": failure.category, "description": failure.description, "remediation": failure.remediation}
            self._bucket.write_json(f"results/{order}/failure.json", text)
            self._say(order, "failed", 100, failure.description)
            _tell(f"analysis: order {order} failed ({failure.category})")
        self._finished.add(order)

    def _say(self, order: str, status: str, progress: int, message: str, **more: Any) -> None:
        body = {"status": status, "progress": progress, "message": message, **more}
        self._bucket.write_json(f"results/{order}/status.json", body)

    def _measure(self, order: str, objects: list[dict[str, Any]]) -> list[SeriesFigures]:
        found: dict[str, SeriesFigures] = {}
        step = max(8, len(objects) // _STEPS)
        with ThreadPoolExecutor(2) as pool:
            for start in range(0, len(objects), step):
                if self._stop.is_set() or self._is_cancelled(order):
                    raise OrderVoid
                self._say(order, "processing", 100 * start // len(objects), "measuring images")
                for data in pool.map(self._verified, objects[start : start + step]):
                    _add(found, data)
        series = [one for one in found.values() if one.images]
        if not series:
            raise OrderFailed("no_images", "The order holds no image.", "Send a study that holds images.")
        return sorted(series, key=lambda one: one.number)

    def _verified(self, entry: dict[str, Any]) -> bytes:
        data = self._bucket.read(entry["key"])
        if data is None:
            raise OrderFailed(
                "missing_object", f"Object {entry['number']} of the manifest is not in the bucket.", "Retry the study."
            )
        if len(data) != entry["size_bytes"] or hashlib.sha256(data).hexdigest() != entry["sha256"]:
            raise OrderFailed(
                "checksum_mismatch", f"Object {entry['number']} is not what the manifest says.", "Retry the study."
            )
        return data

    def _report(self, order: str, series: list[SeriesFigures]) -> None:
        picture = max(series, key=lambda one: one.images).montage()
        figures = [one.figures() for one in series]
        body = {"order": order, "kind": "demonstration", "notice": NOTICE, "series": figures}
        files = {
            "report.json": (json.dumps(body, indent=1).encode(), "application/json"),
            "slices.png": (picture, "image/png"),
            "report.pdf": (render_pdf(order, figures, picture), "application/pdf"),
        }
        if self._is_cancelled(order):
            raise OrderVoid
        for name, (data, media_type) in files.items():
            self._bucket.write(f"results/{order}/{name}", data, media_type)
        announced = [
            {"name": name, "size_bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
            for name, (data, _) in files.items()
        ]
        self._say(order, "done", 100, "report ready", results=announced)


def _checked_manifest(order: str, data: bytes) -> list[dict[str, Any]]:
    """Return the manifest's objects after checking its form."""
    remedy = "Retry the study; if it happens again, compare agent and service with the contract."
    try:
        manifest = json.loads(data)
        if manifest["contract"] != CONTRACT or manifest["order"] != order:
            raise OrderFailed("bad_manifest", "The manifest belongs to another contract or order.", remedy)
        kinds = {"number": int, "key": str, "size_bytes": int, "sha256": str}
        objects = [{name: kind(entry[name]) for name, kind in kinds.items()} for entry in manifest["objects"]]
    except (ValueError, KeyError, TypeError) as error:
        raise OrderFailed("bad_manifest", "The manifest cannot be read.", remedy) from error
    if not objects or any(not o["key"].startswith(f"studies/{order}/instances/") for o in objects):
        raise OrderFailed("bad_manifest", "The manifest names no objects, or objects of another order.", remedy)
    return objects


def _add(found: dict[str, SeriesFigures], data: bytes) -> None:
    """Add one object; what holds no image is passed over, what cannot be read fails the order."""
    try:
        ds = pydicom.dcmread(io.BytesIO(data))
        uid = str(ds.SeriesInstanceUID)
        number, modality = int(ds.get("SeriesNumber") or len(found) + 1), str(ds.get("Modality", ""))
        series = found.setdefault(uid, SeriesFigures(number, modality))
        if "PixelData" in ds:
            for frame, b_value, position in frames_of(ds):
                series.add(frame, b_value, position)
    except Exception as error:
        raise OrderFailed(
            "unreadable_object",
            "An object of the order cannot be read as a DICOM image.",
            "See the study's quality report.",
        ) from error


def render_pdf(order: str, figures: list[dict[str, Any]], picture: bytes) -> bytes:
    """Return the report as a PDF."""
    pdf = FPDF(format="A4")
    pdf.set_title("Demonstration report")
    pdf.add_page()
    pdf.set_font("Helvetica", "B", 20)
    pdf.cell(0, 12, "Demonstration report", new_x="LMARGIN", new_y="NEXT")
    pdf.set_fill_color(255, 225, 160)
    pdf.set_font("Helvetica", "B", 12)
    pdf.multi_cell(0, 9, NOTICE, fill=True, new_x="LMARGIN", new_y="NEXT")
    pdf.set_fill_color(255)  # the rows of the table would take the colour of the notice
    pdf.ln(3)
    pdf.set_font("Helvetica", "", 10)
    pdf.multi_cell(
        0,
        6,
        f"Order {order}. Plain measurements of the images received: signal inside a threshold mask "
        "(above 20 % of the 99th percentile of each image), in the units of the images.",
        new_x="LMARGIN",
        new_y="NEXT",
    )
    pdf.ln(2)
    rows: list[tuple[str, ...]] = [
        ("Series", "Modality", "Images", "Mean", "SD", "5th pct.", "Median", "95th pct.", "Mean by b value")
    ]
    rows += [_row(one) for one in figures]
    with pdf.table(col_widths=(10, 12, 11, 12, 12, 12, 11, 13, 20), line_height=6, text_align="CENTER") as table:
        for row in rows:
            table.row(row)
    pdf.ln(4)
    pdf.image(io.BytesIO(picture), w=110, alt_text="Slices of the largest series")
    pdf.set_font("Helvetica", "I", 9)
    pdf.cell(0, 6, "Slices of the largest series, lowest diffusion weighting.", new_x="LMARGIN", new_y="NEXT")
    return bytes(pdf.output())


def _tell(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _row(one: dict[str, Any]) -> tuple[str, ...]:
    shares = one["percentiles"]
    means = "\n".join(f"b {b}: {mean:.0f}" for b, mean in one["mean_by_b_value"].items()) or "-"
    numbers = (one["series"], one["modality"], one["images"], f"{one['mean']:.1f}", f"{one['sd']:.1f}", shares["p5"])
    return tuple(str(cell) for cell in (*numbers, shares["p50"], shares["p95"], means))


def main(arguments: list[str] | None = None) -> int:
    """Run the service; credentials come from ``AWS_ACCESS_KEY_ID`` and ``AWS_SECRET_ACCESS_KEY``."""
    parent = os.getppid()
    parser = argparse.ArgumentParser(prog="agent.demo.analysis_service", description="Reference analysis service.")
    parser.add_argument("--endpoint", default="", help="S3 endpoint; empty: AWS")
    parser.add_argument("--bucket", required=True)
    parser.add_argument("--region", default="us-east-1")
    parser.add_argument("--poll", type=float, default=1.0, help="seconds between two looks")
    options = parser.parse_args(arguments)
    stop = threading.Event()

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, on_signal)
    warnings.filterwarnings("ignore", module="pydicom")
    _tell("analysis: watching the bucket")
    Service(Bucket(options.endpoint, options.bucket, options.region), options.poll, stop, parent).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
