"""Receiving against other receivers: images per second, CPU, time of one image, of one association.

Every round starts each receiver afresh with an empty store and sends the same synthetic MR images (128 kB of pixels,
seeded), in turn: the rounds are pairs, ratios are taken round by round. A response other than Success fails the
benchmark.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filewriter import dcmwrite
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage

from benchmarks.figures import Figure, paired_ratio
from benchmarks.peers import AET, Peer, Running, peers, program, running

ROOT = "1.2.826.0.1.3680043.10.9999"
IMAGES_OF_STUDY = 200
ECHOES = 30
IDLE_IMAGES = 30
IDLE_GAP_S = 0.02

Say = Callable[[str], None]


def _template(rng: np.random.Generator) -> Dataset:
    ds = Dataset()
    ds.SpecificCharacterSet, ds.ImageType = "ISO_IR 100", ["ORIGINAL", "PRIMARY", "M"]
    ds.SOPClassUID = MRImageStorage
    ds.StudyDate, ds.StudyTime, ds.AccessionNumber, ds.Modality = "20260102", "101500", "BENCH", "MR"
    ds.Manufacturer, ds.ManufacturerModelName, ds.StationName = "SYNTHETIC", "Bench", "BENCH1"
    ds.StudyDescription, ds.SeriesDescription = "Brain", "Axial"
    ds.PatientName, ds.PatientID, ds.PatientBirthDate, ds.PatientSex = "Bench^Mark", "BENCH1", "19600102", "O"
    ds.SliceThickness, ds.RepetitionTime, ds.EchoTime, ds.ProtocolName = "2", "500", "20", "BENCH"
    ds.SeriesNumber = 1
    ds.ImageOrientationPatient, ds.PixelSpacing = [1, 0, 0, 0, 1, 0], [1, 1]
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.Rows = ds.Columns = 256
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
    ds.PixelData = rng.integers(0, 4096, (256, 256), dtype=np.uint16).tobytes()
    ds["PixelData"].VR = "OW"
    return ds


def make_images(folder: Path, number: int, count: int) -> list[Path]:
    """Write `count` images of studies that no other set has."""
    folder.mkdir()
    ds = _template(np.random.default_rng(number))
    paths = []
    for n in range(count):
        study = f"{ROOT}.{number}.{n // IMAGES_OF_STUDY + 1}"
        ds.StudyInstanceUID, ds.SeriesInstanceUID = study, f"{study}.1"
        ds.SOPInstanceUID, ds.InstanceNumber = f"{study}.1.{n + 1}", n + 1
        ds.ImagePositionPatient = [0, 0, 2 * n]
        ds.file_meta = FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        ds.file_meta.MediaStorageSOPClassUID, ds.file_meta.MediaStorageSOPInstanceUID = (
            MRImageStorage,
            ds.SOPInstanceUID,
        )
        buffer = io.BytesIO()
        dcmwrite(buffer, ds, enforce_file_format=True)
        path = folder / f"{n:05d}.dcm"
        path.write_bytes(buffer.getvalue())
        paths.append(path)
    return paths


def _raw(server: Running, lots: list[list[Path]], mode: str = "store") -> tuple[float, list[float]]:
    """Run raw clients side by side; return wall seconds and the seconds of each object."""
    base = [sys.executable, "-m", "benchmarks.peers.raw_client", "127.0.0.1", str(server.port), AET, mode]
    clients = [
        subprocess.Popen([*base, *map(str, lot)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for lot in lots
    ]
    for client in clients:
        if client.stdout is None or client.stdout.readline().strip() != "ready":
            raise RuntimeError(f"a raw client could not associate with {server.peer.name}")
    results = []
    for client in clients:
        assert client.stdin is not None
        client.stdin.write("go\n")
        client.stdin.flush()
    for client in clients:
        told, _ = client.communicate(timeout=600)
        results.append(json.loads(told))
    if any(r["bad"] for r in results):
        raise RuntimeError(f"{server.peer.name} refused objects")
    return max(r["ended"] for r in results) - min(r["began"] for r in results), [e for r in results for e in r["each"]]


def _dcmsend(server: Running, lots: list[list[Path]]) -> float:
    command = [program("dcmsend") or "dcmsend", "-q", "-dn", "-nuc", "-ma", "--max-send-pdu", "131072", "-aec", AET]
    began = time.monotonic()
    clients = [
        subprocess.Popen(
            [*command, "127.0.0.1", str(server.port), *map(str, lot)],
            env={**os.environ, "TCP_NODELAY": "1"}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        for lot in lots
    ]  # fmt: skip
    if any(client.wait(600) for client in clients):
        raise RuntimeError(f"dcmsend failed with {server.peer.name}")
    return time.monotonic() - began


def _split(paths: list[Path], parts: int) -> list[list[Path]]:
    return [paths[n * len(paths) // parts : (n + 1) * len(paths) // parts] for n in range(parts)]


Rounds = dict[str, list[float]]


def _note(rounds: Rounds, name: str, value: float) -> None:
    rounds.setdefault(name, []).append(value)


def _rate(server: Running, rounds: Rounds, name: str, paths: list[Path], send: Callable[[], float]) -> None:
    before = server.cpu_s()
    wall = send()
    _note(rounds, f"{name}: images/s", len(paths) / wall)
    _note(rounds, f"{name}: receiver CPU s per 1000", 1000 * (server.cpu_s() - before) / len(paths))


def _one_round(server: Running, sets: dict[str, list[Path]], rounds: Rounds) -> None:
    for parts in (1, 4):
        paths = sets[f"raw x{parts}"]
        _rate(server, rounds, f"raw x{parts}", paths, lambda p=paths, n=parts: _raw(server, _split(p, n))[0])
    if program("dcmsend"):
        for parts in (1, 4):
            paths = sets[f"dcmsend x{parts}"]
            _rate(server, rounds, f"dcmsend x{parts}", paths, lambda p=paths, n=parts: _dcmsend(server, _split(p, n)))
    _, each = _raw(server, [sets["idle"]], f"store:{IDLE_GAP_S}")
    _note(rounds, "one image, idle: ms", 1000 * statistics.median(each))
    _, each = _raw(server, [[]], f"cycle:{ECHOES}")
    _note(rounds, "associate, echo, release: ms", 1000 * statistics.median(each))
    _note(rounds, "memory at the end: MB", server.peak_memory_mb())


def _figures(results: dict[str, Rounds], ours: str) -> list[Figure]:
    figures: dict[tuple[str, str], Figure] = {}
    for peer, rounds in results.items():
        for name, values in rounds.items():
            what, unit = name.rsplit(": ", 1)
            better = "higher" if unit == "images/s" else "lower"
            figures[peer, name] = Figure(f"{peer}, {what}", unit, tuple(values), better)
    ratios = [
        paired_ratio(f"{ours} / {peer}, {name.rsplit(': ', 1)[0]}", figures[ours, name], theirs, theirs.better)
        for (peer, name), theirs in figures.items()
        if peer != ours and not name.startswith("memory") and "CPU" not in name
    ]
    return [*figures.values(), *ratios]


def run(*, quick: bool, say: Say) -> list[Figure]:
    """Measure.

    Parameters
    ----------
    quick : bool
        One round of few images.
    say : callable
        Progress in words.
    """
    known: list[Peer] = peers()
    present = [peer for peer in known if not peer.missing]
    for peer in known:
        if peer.missing:
            say(f"left out: {peer.name} ({peer.missing})")
    if not program("dcmsend"):
        say("left out: the dcmsend client (dcmsend is not installed)")
    count, repeats = (80, 1) if quick else (500, 5)
    folder = Path(tempfile.mkdtemp(prefix="ingest-"))
    results: dict[str, Rounds] = {peer.name: {} for peer in present}
    try:
        names = ("raw x1", "raw x4", "dcmsend x1", "dcmsend x4")
        sets = {name: make_images(folder / name.replace(" ", "-"), n + 1, count) for n, name in enumerate(names)}
        sets["idle"] = make_images(folder / "idle", 9, IDLE_IMAGES)
        for repeat in range(repeats):
            for peer in present:
                say(f"round {repeat + 1} of {repeats}: {peer.name}")
                place = folder / f"{repeat}-{peer.name.split(',')[0].replace(' ', '-')}"
                with running(peer, place) as server:
                    _one_round(server, sets, results[peer.name])
                os.sync()
                shutil.rmtree(place)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return _figures(results, present[0].name)
