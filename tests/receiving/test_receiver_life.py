"""Receivers die, are started again, forget keys and stop in order; nothing acknowledged is unknown."""

from __future__ import annotations

import hashlib
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
from collections.abc import Sequence
from pathlib import Path

import psutil
import pytest

from agent.clock import pause
from agent.dicom.raw_association import AssociationFailed, read_part10
from agent.dicom.receiver_pool import ReceiverPool
from agent.dicom.scu import EchoRequest, SendRequest, echo, send
from agent.errors import ConfigError, StorageError
from agent.store.keys import StudyKey
from agent.store.segments import StoredRecord
from tests.dicom_files import make_series, write_series
from tests.receiving.books import Books, forkserver, receiving, settings
from tests.receiving.wire import associate


def test_a_receiver_killed_in_mid_transfer_is_replaced_and_its_associations_are_named(tmp_path: Path) -> None:
    paths = write_series(tmp_path / "in", make_series(4))
    files = [read_part10(p) for p in paths]
    with receiving(tmp_path) as stand:
        with associate(stand.port) as association:
            assert association.store_file(3, files[0])[0] == 0
            stand.books.wait(lambda: len(stand.books.records) == 1)
            [pid] = stand.pool.pids()
            os.kill(pid, signal.SIGKILL)
            with pytest.raises(AssociationFailed):
                for file in files[1:] * 20:
                    association.store_file(3, file)
        stand.books.wait(lambda: len(stand.books.lost) == 1)
        name, open_associations = stand.books.lost[0]
        assert stand.books.records[0].segment.startswith(f"{name}-")
        assert open_associations == (stand.books.opened[0].id,)
        summary = send(paths, SendRequest("127.0.0.1", stand.port, "NEUROPACS_AGENT"))
        assert summary.counts() == {"stored": 4}
        assert stand.pool.pids() != [pid]


def test_the_end_of_an_association_comes_after_its_arrivals(tmp_path: Path) -> None:
    write_series(tmp_path / "in", make_series(40, shape=(8, 8)))
    with receiving(tmp_path, receivers=2) as stand:
        summary = send([tmp_path / "in"], SendRequest("127.0.0.1", stand.port, "NEUROPACS_AGENT", associations=4))
        assert summary.counts() == {"stored": 40}
        stand.books.wait(lambda: len(stand.books.closed) == 4)
        ended: set[str] = set()
        for what, identity in stand.books.order:
            assert identity not in ended
            if what == "closed":
                ended.add(identity)
        assert len({r.segment.split("-")[0] for r in stand.books.records}) == 2
        assert stand.books.key_requests == 2


class _SlowBooks(Books):
    """The engine takes its time over the index."""

    def arrived(self, records: Sequence[StoredRecord]) -> None:
        pause(0.3)
        super().arrived(records)


def test_stopping_takes_all_arrivals_and_aborts_what_does_not_end(tmp_path: Path) -> None:
    [path] = write_series(tmp_path / "in", make_series(1))
    books = _SlowBooks()
    with receiving(tmp_path, books) as stand:
        association = associate(stand.port)
        assert association.store_file(3, read_part10(path))[0] == 0
        stand.pool.stop(6.0)
        assert len(books.records) == 1
        assert [c.reason for c in books.closed] == ["The agent is shutting down."]
        assert stand.pool.pids() == []
        assert books.lost == []
        with pytest.raises(AssociationFailed):
            association.echo(1)
        association.close()
        assert echo(EchoRequest("127.0.0.1", stand.port, "X", timeout_s=2)).code == "no_listener"


def test_a_port_in_use_is_a_configuration_error_that_names_it(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        pool = ReceiverPool(settings(tmp_path, port=port), tmp_path / "segments", forkserver(), Books())
        with pytest.raises(ConfigError, match=f"Port {port} .* in use") as error:
            pool.start()
        assert "dicom.port" in error.value.hint
        assert error.value.exit_code == 3


def test_an_address_of_another_machine_is_a_configuration_error(tmp_path: Path) -> None:
    pool = ReceiverPool(settings(tmp_path, host="192.0.2.1"), tmp_path / "segments", forkserver(), Books())
    with pytest.raises(ConfigError, match=r"192\.0\.2\.1"):
        pool.start()


class _NoKeys(Books):
    """The engine cannot commit keys."""

    def study_key(self, study_uid: str) -> StudyKey:
        raise StorageError("The database is away.", code="database")


def test_without_a_study_key_the_sender_keeps_its_object(tmp_path: Path) -> None:
    [path] = write_series(tmp_path / "in", make_series(1))
    with receiving(tmp_path, _NoKeys()) as stand, associate(stand.port) as association:
        assert association.store_file(3, read_part10(path))[0] == 0xA700


def test_a_full_disk_is_answered_a700(tmp_path: Path) -> None:
    [path] = write_series(tmp_path / "in", make_series(1))
    full = settings(tmp_path)
    full = full.model_copy(update={"store": full.store.model_copy(update={"hard_margin_percent": 90.0})})
    usage = psutil.disk_usage(str(tmp_path))
    if usage.free > 0.9 * usage.total:
        pytest.skip("this disk is too empty to be full")
    pool = ReceiverPool(full, tmp_path / "segments", forkserver(), Books())
    pool.start()
    try:
        with associate(pool.port) as association:
            assert association.store_file(3, read_part10(path)) == (0xA700, "Storage margin reached")
    finally:
        pool.stop(5.0)


def test_a_forgotten_key_is_asked_for_again(tmp_path: Path) -> None:
    paths = write_series(tmp_path / "in", make_series(3))
    files = [read_part10(p) for p in paths]
    with receiving(tmp_path) as stand, associate(stand.port) as association:
        assert association.store_file(3, files[0])[0] == 0
        assert association.store_file(3, files[1])[0] == 0
        assert stand.books.key_requests == 1
        [study_uid] = stand.books.keys
        old = stand.books.keys.pop(study_uid)
        assert stand.pool.forget_study(study_uid)
        assert len(stand.books.records) == 2
        assert association.store_file(3, files[2])[0] == 0
        stand.books.wait(lambda: len(stand.books.records) == 3)
        assert stand.books.key_requests == 2
        assert stand.books.records[2].key_id != old.key_id


class _HeldKeys(Books):
    """Keys wait while a study is being deleted."""

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.gate = threading.Event(), threading.Event()
        self.gate.set()

    def study_key(self, study_uid: str) -> StudyKey:
        key = super().study_key(study_uid)
        self.asked.set()
        assert self.gate.wait(20)
        return key


def test_a_key_fetched_before_a_study_was_forgotten_is_never_used_after(tmp_path: Path) -> None:
    [path] = write_series(tmp_path / "in", make_series(1))
    books = _HeldKeys()
    with receiving(tmp_path, books) as stand, associate(stand.port) as association:
        books.gate.clear()
        status: list[int] = []
        sender = threading.Thread(target=lambda: status.append(association.store_file(3, read_part10(path))[0]))
        sender.start()
        assert books.asked.wait(20)
        [study_uid] = books.keys
        old = books.keys.pop(study_uid)
        assert stand.pool.forget_study(study_uid, 5.0)
        books.gate.set()
        sender.join(20)
        assert status == [0]
        stand.books.wait(lambda: len(books.records) == 1)
        assert books.records[0].key_id != old.key_id


def test_open_associations_show_the_age_of_their_traffic(tmp_path: Path) -> None:
    with receiving(tmp_path) as stand, associate(stand.port, "AGED") as association:
        assert association.echo(1) == 0
        stand.books.wait(lambda: len(stand.books.opened) == 1)
        [seen] = stand.pool.open_associations()
        assert (seen.calling_aet, seen.address) == ("AGED", "127.0.0.1")
        assert 0 <= seen.last_traffic_age_s < 30
        association.release()
        stand.books.wait(lambda: len(stand.books.closed) == 1)
        assert stand.pool.open_associations() == []


def test_receivers_end_with_the_engine(tmp_path: Path) -> None:
    script = textwrap.dedent(
        """
        import sys
        from pathlib import Path
        from tests.receiving.books import Books, forkserver, settings
        from agent.dicom.receiver_pool import ReceiverPool

        if __name__ == "__main__":
            folder = Path(sys.argv[1])
            pool = ReceiverPool(settings(folder, receivers=2), folder / "segments", forkserver(), Books())
            pool.start()
            print(*pool.pids(), flush=True)
            sys.stdin.read()
        """
    )
    (tmp_path / "engine.py").write_text(script)
    root = Path(__file__).parents[2]
    engine = subprocess.Popen(
        [sys.executable, tmp_path / "engine.py", str(tmp_path)], cwd=root, env={**os.environ, "PYTHONPATH": str(root)},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    with engine:
        assert engine.stdout is not None
        pids = [int(p) for p in engine.stdout.readline().split()]
        receivers = [psutil.Process(p) for p in pids]
        assert len(receivers) == 2
        engine.kill()
        _, alive = psutil.wait_procs(receivers, timeout=5)
        # nobody may be there to reap them: dead is enough
        assert [p for p in alive if p.is_running() and p.status() != psutil.STATUS_ZOMBIE] == []


def test_large_objects_come_back_whole(tmp_path: Path) -> None:
    [path] = write_series(tmp_path / "in", make_series(1, shape=(3000, 2600)))
    file = read_part10(path)
    with receiving(tmp_path) as stand, associate(stand.port) as association:
        assert association.store_file(3, file)[0] == 0
        association.release()
        stand.books.wait(lambda: len(stand.books.records) == 1)
        assert stand.digests() == {hashlib.sha256(path.read_bytes()[file.offset :]).hexdigest(): 1}


def test_two_hundred_short_associations_leave_nothing_behind(tmp_path: Path) -> None:
    paths = write_series(tmp_path / "in", make_series(50, shape=(8, 8)))
    with receiving(tmp_path) as stand:
        results = []

        def one_by_one(lot: list[Path]) -> None:
            for path in lot:
                results.append(send([path], SendRequest("127.0.0.1", stand.port, "NEUROPACS_AGENT")).ok)

        threads = [threading.Thread(target=one_by_one, args=(paths,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert results == [True] * 200
        stand.books.wait(lambda: len(stand.books.closed) == 200)
        assert {c.outcome for c in stand.books.closed} == {"released"}
        assert len(stand.books.records) == 200
