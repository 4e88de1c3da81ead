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
    frozenset({"arrivals", "processes", "startup", "engine"}),
    frozenset({"demo"}),
    frozenset({"cli", "__main__"}),
)
# errors at the bottom; the rest of the first layer may use it
WITHIN_LAYER = {("config", "errors"), ("config", "config_sections"), ("config_reference", "config"), ("study", "errors"), ("logs", "errors"), ("engine", "arrivals"), ("engine", "processes"), ("engine", "startup"),
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
CONCURRENCY: dict[str, str] = {
    "actors/base.py": "an actor is a thread",
    "actors/key_gate.py": "no key is handed out while its study is shredded",
    "actors/notifier.py": "channels answer slowly; the actor must not wait for them",
    "actors/orders.py": "the orders that are on their way, seen by their threads and by the actor",
    "actors/result_watcher.py": "looks at the cloud take as long as the network does",
    "actors/surroundings.py": "reads of rows on connections of their own",
    "actors/timer.py": "one thread for all deadlines",
    "actors/traffic.py": "who sends now: written by receivers' threads, read by studies",
    "actors/uploader.py": "one thread an order on its way",
    "clock.py": "the manual clock wakes whoever waits for it",
    "cloud/patience.py": "the connections of one order share one outage",
    "cloud/s3.py": "the client is made once",
    "cloud/upload.py": "`cloud.connections` transfers of one order at once",
    "demo/analysis_service.py": "objects of an order are fetched side by side",
    "demo/children.py": "children die with the thread that started them, so one lives as long as the demo",
    "demo/runner.py": "one thread sends while another tells",
    "demo/s3_server.py": "started and stopped from several threads",
    "dicom/guard/limits.py": "connections are counted before and after their threads",
    "dicom/guard/reactor.py": "pynetdicom's two threads of an association wake each other",
    "dicom/listener.py": "the accept loop",
    "dicom/receiver.py": "watches for the engine's end",
    "dicom/receiver_link.py": "the engine's side of one receiver process",
    "dicom/receiver_pool.py": "keeps the receiver processes alive",
    "dicom/scu.py": "several associations at once",
    "dicom/stock_path.py": "associations of a receiver share its link to the engine",
    "engine.py": "the composition root starts and stops what runs beside the actors",
    "ops/notifications.py": "channels are made once",
    "pool.py": "the worker processes",
    "processes.py": "the web process, and the heartbeat",
    "qc/folder.py": "`agent qc` measures on all cores",
    "store/database.py": "one connection a thread",
    "store/keys.py": "the pool of keys committed ahead",
    "store/segments/commit.py": "leader and followers of a group commit",
    "store/segments/writer.py": "many associations append to one segment",
    "store/writer.py": "the one writer thread",
    "web/feed.py": "one thread follows the changes and wakes all who wait",
    "web/passwords.py": "two password hashes at once, 64 MiB each",
    "web/server.py": "watches for the engine's end",
}
PRIMITIVES = {
    "Thread", "Timer", "Lock", "RLock", "Condition", "Semaphore", "BoundedSemaphore", "Barrier", "ThreadPoolExecutor",
    "ProcessPoolExecutor", "local",
}  # fmt: skip
THREADING = {"threading", "multiprocessing", "concurrent", "futures", "concurrent.futures"}


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


def uses_concurrency(path: Path) -> bool:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module in THREADING:
            if {alias.name for alias in node.names} & PRIMITIVES:
                return True
        elif isinstance(node, ast.Attribute) and node.attr in PRIMITIVES:
            if isinstance(node.value, ast.Name) and node.value.id in THREADING:
                return True
        elif isinstance(node, ast.ClassDef) and any("ThreadingActor" in ast.dump(base) for base in node.bases):
            return True
    return False


def test_threads_locks_and_pools_are_where_the_list_says() -> None:
    users = {p.relative_to(AGENT).as_posix() for p in sources() if uses_concurrency(p)}
    assert users - set(CONCURRENCY) == set(), "add them with a reason, or do without"
    assert set(CONCURRENCY) - users == set(), "no longer needed"


def test_the_search_for_concurrency_sees_what_is_there(tmp_path: Path) -> None:
    file = tmp_path / "made.py"
    file.write_text("import threading\nlock = threading.Lock()\n")
    assert uses_concurrency(file)
    file.write_text("lock = 'threading.Lock'\n")
    assert not uses_concurrency(file)
