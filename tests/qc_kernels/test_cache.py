"""Compiled kernels are kept, checked and compiled again when something is wrong with them."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from agent.qc_kernels import cache

SCRIPT = """
import sys
from pathlib import Path
from agent.qc_kernels.cache import warm_cache
assert "numba" not in sys.modules
print(warm_cache(Path(sys.argv[1])))
"""


def run(root: Path) -> bool:
    done = subprocess.run([sys.executable, "-c", SCRIPT, str(root)], capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip() == "True"


@pytest.fixture(scope="module")
def filled(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("numba")
    assert run(root)
    return root


@pytest.mark.slow
def test_a_second_process_compiles_nothing(filled):
    assert not run(filled)


@pytest.mark.slow
def test_a_truncated_file_is_compiled_again_and_never_loaded(filled):
    (folder,) = filled.iterdir()
    victim = max(folder.rglob("*.nbc"), key=lambda path: path.stat().st_size)
    victim.write_bytes(victim.read_bytes()[:100])
    assert not cache.is_complete(folder)
    assert run(filled)
    assert cache.is_complete(folder)


def test_the_folder_is_closed_to_others(tmp_path, monkeypatch):
    monkeypatch.setenv("NUMBA_CACHE_DIR", os.environ.get("NUMBA_CACHE_DIR", ""))
    folder = tmp_path / "a" / cache.cache_key()
    folder.mkdir(parents=True, mode=0o777)
    script = "import sys; from pathlib import Path; from agent.qc_kernels.cache import use_cache; use_cache(Path(sys.argv[1]))"
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "a")], check=True)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_the_key_changes_with_any_kernel_source(tmp_path, monkeypatch):
    package = tmp_path / "kernels"
    package.mkdir()
    for path in Path(cache.__file__).parent.glob("*.py"):
        (package / path.name).write_bytes(path.read_bytes())
    monkeypatch.setattr(cache, "__file__", str(package / "cache.py"))
    before = cache.cache_key()
    (package / "masks.py").write_text((package / "masks.py").read_text() + "\n")
    assert cache.cache_key() != before
