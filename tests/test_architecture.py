"""The house: imports go down only, third-party packages stay in their rooms, files keep their size."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
AGENT = ROOT / "agent"

# a room may import rooms of a lower layer, and nothing else of the agent
LAYERS: tuple[frozenset[str], ...] = (
    frozenset({"errors", "clock", "metrics", "logs", "study", "config", "config_sections", "config_reference"}),
    frozenset({"messages", "rules", "pool"}),
    frozenset({"store", "qc_kernels", "completeness"}),
    frozenset({"dicom", "qc", "deid", "cloud", "delivery", "ops"}),
    frozenset({"actors", "web"}),
    frozenset({"arrivals", "processes", "engine"}),
    frozenset({"demo"}),
    frozenset({"cli", "__main__"}),
)
# errors at the bottom; the rest of the first layer may use it
WITHIN_LAYER = {("config", "errors"), ("config", "config_sections"), ("config_reference", "config"), ("study", "errors"), ("logs", "errors"), ("engine", "arrivals"), ("engine", "processes"),
                ("processes", "arrivals"), ("__main__", "cli")}  # fmt: skip

# package -> the rooms that may import it
CONFINED: dict[str, frozenset[str]] = {
    "pykka": frozenset({"actors", "engine"}),
    "pynetdicom": frozenset({"dicom"}),
    "peewee": frozenset({"store"}),
    "playhouse": frozenset({"store"}),
    "sqlcipher3": frozenset({"store"}),
    "cryptography": frozenset({"store"}),
    "flask": frozenset({"web"}),
    "flask_wtf": frozenset({"web"}),
    "flask_limiter": frozenset({"web"}),
    "cheroot": frozenset({"web"}),
    "argon2": frozenset({"web", "store"}),
    "boto3": frozenset({"cloud", "demo"}),
    "botocore": frozenset({"cloud", "demo"}),
    "apprise": frozenset({"ops"}),
    "numba": frozenset({"qc_kernels"}),
    "fpdf": frozenset({"qc", "demo"}),
    "PIL": frozenset({"qc", "demo"}),
    "dicomanonymizer": frozenset({"deid"}),
    "click": frozenset({"cli"}),
    "rich": frozenset({"cli", "demo"}),
    "structlog": frozenset({"logs"}),
    "prometheus_client": frozenset({"metrics"}),
    "pydantic_settings": frozenset({"config"}),
}
EXTERNAL_PROGRAMS = {AGENT / "demo" / "analysis_service.py"}  # knows nothing but the bucket contract

# who may start threads, hold locks or own pools, and why
CONCURRENCY: dict[str, str] = {}


def sources() -> list[Path]:
    return sorted(AGENT.rglob("*.py"))


def room(path: Path) -> str:
    first = path.relative_to(AGENT).parts[0]
    return first.removesuffix(".py")


@cache
def imports(path: Path) -> frozenset[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return frozenset(names)


def layer(name: str) -> int:
    for number, rooms in enumerate(LAYERS):
        if name in rooms:
            return number
    pytest.fail(f"agent/{name} has no layer: add it to LAYERS and to docs/architecture.md")


@pytest.mark.parametrize("path", sources(), ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_go_down_only(path: Path) -> None:
    here = room(path)
    if here == "__init__":
        return
    for name in imports(path):
        parts = name.split(".")
        if parts[0] != "agent" or len(parts) < 2:
            continue
        there = parts[1]
        if there == here or not ((AGENT / there).is_dir() or (AGENT / f"{there}.py").is_file()):
            continue
        assert layer(there) < layer(here) or (here, there) in WITHIN_LAYER, f"{path.name} imports agent.{there}"


@pytest.mark.parametrize("path", sources(), ids=lambda p: str(p.relative_to(ROOT)))
def test_packages_stay_in_their_rooms(path: Path) -> None:
    for name in imports(path):
        top = name.split(".")[0]
        if top in CONFINED:
            assert room(path) in CONFINED[top], f"{path.name} imports {top}"


def test_boto3_is_behind_one_module() -> None:
    users = {p.relative_to(AGENT).as_posix() for p in sources() if any(n.split(".")[0] == "boto3" for n in imports(p))}
    assert {u for u in users if u.startswith("cloud/")} <= {"cloud/s3.py"}


def test_programs_outside_the_agent_import_nothing_of_it() -> None:
    for path in EXTERNAL_PROGRAMS:
        assert not {n for n in imports(path) if n.split(".")[0] == "agent"}


@pytest.mark.parametrize("path", sources(), ids=lambda p: str(p.relative_to(ROOT)))
def test_modules_are_of_a_size_one_can_read(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 400, f"{len(lines)} lines"


def test_folders_hold_at_most_sixteen_files() -> None:
    for folder in {p.parent for p in sources()}:
        files = [p for p in folder.glob("*.py") if p.name != "__init__.py"]
        assert len(files) <= 16, f"{folder.relative_to(ROOT)} holds {len(files)}"


@pytest.mark.parametrize("path", sources(), ids=lambda p: str(p.relative_to(ROOT)))
def test_every_module_says_what_it_is_for(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    if path.name == "__init__.py" and not tree.body:
        return
    assert ast.get_docstring(tree), "no module docstring"


@pytest.mark.parametrize("path", sources(), ids=lambda p: str(p.relative_to(ROOT)))
def test_only_the_clock_sleeps(path: Path) -> None:
    if path == AGENT / "clock.py" or path in EXTERNAL_PROGRAMS:
        return
    calls = [n for n in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(n, ast.Call)]
    slept = [c for c in calls if isinstance(c.func, ast.Attribute) and c.func.attr == "sleep"]
    assert not slept, f"line {slept[0].lineno}: use agent.clock"


FORBIDDEN_NAMES = {"utils", "helpers", "common", "misc", "manager"}


def test_no_room_is_a_junk_drawer() -> None:
    assert not [p for p in sources() if p.stem in FORBIDDEN_NAMES]
