"""``python -m benchmarks NAME [--quick] [--json FILE]`` and ``python -m benchmarks compare A B``."""

from __future__ import annotations

import importlib
import json
import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from benchmarks.figures import Figure

NAMES = ("kernels", "store", "actors", "deid", "dashboard", "ingest")
PACKAGES = ("numpy", "numba", "pynetdicom", "pydicom", "pykka", "sqlcipher3", "cryptography")
NOISE = 0.15  # two shared cores: medians of the same code differ by up to this much
console = Console(stderr=True)


@click.group()
def benchmarks() -> None:
    """Measure the agent; figures of one run are comparable, figures of two machines are not."""


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else ():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()


def _commit() -> str:
    done = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    return done.stdout.strip()


def _circumstances() -> dict[str, object]:
    import os

    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _commit(),
        "machine": {"processor": _processor(), "cores": os.cpu_count(), "system": platform.platform()},
        "python": platform.python_version(),
        "packages": {name: version(name) for name in PACKAGES},
    }


def _show(name: str, figures: list[Figure]) -> None:
    table = Table("figure", "median", "least", "most", "unit", title=name)
    for f in figures:
        table.add_row(f.name, f"{f.median:,.4g}", f"{min(f.values):,.4g}", f"{max(f.values):,.4g}", f.unit)
    Console().print(table)


def _measure(names: tuple[str, ...], quick: bool, file: Path | None) -> None:
    results = {}
    for name in names:
        module = importlib.import_module(f"benchmarks.{name}")
        figures = module.run(quick=quick, say=lambda text: console.print(f"[dim]{text}"))
        _show(name, figures)
        results[name] = [
            {"name": f.name, "unit": f.unit, "better": f.better, "median": f.median, "values": list(f.values)}
            for f in figures
        ]
    if file is not None:
        file.write_text(json.dumps({**_circumstances(), "quick": quick, "results": results}, indent=1) + "\n")


def _add(name: str) -> None:
    @click.option("--quick", is_flag=True, help="Few rounds, small data: does it run, not how fast is it.")
    @click.option("--json", "file", type=click.Path(path_type=Path, dir_okay=False), help="Write every round here.")
    def command(quick: bool, file: Path | None) -> None:
        _measure(NAMES if name == "all" else (name,), quick, file)

    benchmarks.command(name, help=f"Measure {name}.")(command)


for _name in (*NAMES, "all"):
    _add(_name)


@benchmarks.command()
@click.argument("before", type=click.Path(exists=True, path_type=Path))
@click.argument("after", type=click.Path(exists=True, path_type=Path))
@click.option("--band", default=NOISE, show_default=True, help="Changes within this share of the median are noise.")
def compare(before: Path, after: Path, band: float) -> None:
    """Say which figures of AFTER differ from BEFORE by more than the noise band or their own spread."""
    old, new = (json.loads(p.read_text())["results"] for p in (before, after))
    table = Table("figure", "before", "after", "change", "")
    worse = 0
    for name, figures in new.items():
        past = {f["name"]: f for f in old.get(name, [])}
        for row in figures:
            if row["name"] not in past:
                continue
            verdict, change = _judge(past[row["name"]], row, band)
            worse += verdict == "worse"
            table.add_row(f"{name}: {row['name']}", f"{past[row['name']]['median']:,.4g}", f"{row['median']:,.4g}",
                          f"{change:+.1%}", verdict)  # fmt: skip
    Console().print(table)
    sys.exit(1 if worse else 0)


def _judge(old: dict, new: dict, band: float) -> tuple[str, float]:
    change = new["median"] / old["median"] - 1 if old["median"] else 0.0
    overlap = min(old["values"]) <= max(new["values"]) and min(new["values"]) <= max(old["values"])
    if old["better"] == "none" or abs(change) <= band or overlap:
        return "same", change
    return ("better" if (change > 0) == (old["better"] == "higher") else "worse"), change


if __name__ == "__main__":
    benchmarks()
