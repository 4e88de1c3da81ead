"""A whole order on its way to a real S3 server: resume, outage, cancel, verification."""

from __future__ import annotations

import hashlib
import json
import threading

import pytest

from agent.cloud.package import cancel_key, instance_key, manifest_key, order_prefix
from agent.cloud.s3 import S3Cloud
from agent.cloud.upload import Halt, OrderUpload, UploadOutcome
from agent.config import CloudSettings
from agent.demo.s3_server import S3Server
from agent.errors import DeidError, Permanent
from tests.upload.ledger import Ledger, Prepared, Watch, body_of, make_order, prepared


def upload(settings: CloudSettings, order, ledger, halt=None, watch=None, prepare=None) -> UploadOutcome:
    watch = watch or Watch()
    return OrderUpload(S3Cloud(settings), settings, watch.hooks(prepare)).run(order, ledger, halt or Halt())


def read(settings: CloudSettings, key: str) -> bytes:
    data = S3Cloud(settings)._read(key, 10**9)
    assert data is not None
    return data


def test_the_manifest_names_every_object_with_its_checksum(cloud_settings: CloudSettings) -> None:
    order, ledger, watch = make_order(25), Ledger(), Watch()
    assert upload(cloud_settings, order, ledger, watch=watch) is UploadOutcome.COMMITTED
    manifest = json.loads(read(cloud_settings, manifest_key(order.order)))
    assert manifest["order"] == order.order
    assert len(manifest["objects"]) == 25
    for entry in manifest["objects"]:
        data = read(cloud_settings, entry["key"])
        assert (entry["size_bytes"], entry["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())
    assert watch.progress[-1].done_objects == watch.progress[-1].total_objects == 25
    assert watch.problems == []
    assert watch.texts == [read(cloud_settings, manifest_key(order.order)).decode()]


def test_an_order_uploaded_twice_is_sent_once(cloud_settings: CloudSettings) -> None:
    order, ledger = make_order(6), Ledger()
    upload(cloud_settings, order, ledger)
    prepared_again: list[int] = []
    upload(cloud_settings, order, ledger, prepare=lambda p: prepared_again.append(p.number) or prepared(body_of(p)))
    assert prepared_again == []
    assert set(ledger.recorded.values()) == {1}


def test_a_lost_ledger_still_sends_nothing_twice(cloud_settings: CloudSettings) -> None:
    order = make_order(6)
    upload(cloud_settings, order, Ledger())
    before = S3Cloud(cloud_settings).list_objects(order_prefix(order.order))
    assert upload(cloud_settings, order, Ledger()) is UploadOutcome.COMMITTED
    assert S3Cloud(cloud_settings).list_objects(order_prefix(order.order)) == before


def test_no_more_objects_are_prepared_than_there_are_connections(cloud_settings: CloudSettings) -> None:
    settings = cloud_settings.model_copy(update={"connections": 3})
    lock, alive, most = threading.Lock(), 0, 0

    class Counting(Prepared):
        def __del__(self) -> None:
            nonlocal alive
            with lock:
                alive -= 1

    def prepare(planned):
        nonlocal alive, most
        data = body_of(planned)
        with lock:
            alive += 1
            most = max(most, alive)
        return Counting(data, hashlib.sha256(data).hexdigest())

    upload(settings, make_order(40), Ledger(), prepare=prepare)
    assert 1 <= most <= 3


def test_an_outage_in_mid_upload_loses_nothing_and_sends_each_object_once(
    s3_server: S3Server, cloud_settings: CloudSettings
) -> None:
    order, ledger, watch = make_order(120), Ledger(), Watch()
    half = threading.Event()

    def prepare(planned):
        if len(ledger.kept) > 40 and not half.is_set():
            half.set()
            s3_server.stop()
        return prepared(body_of(planned))

    outcome: list[UploadOutcome] = []
    thread = threading.Thread(
        target=lambda: outcome.append(upload(cloud_settings, order, ledger, watch=watch, prepare=prepare))
    )
    thread.start()
    assert watch.trouble.wait(60)
    assert S3Server.start(s3_server) is s3_server
    thread.join(60)
    assert outcome == [UploadOutcome.COMMITTED]
    assert set(ledger.recorded.values()) == {1}
    assert len(ledger.recorded) == 120
    assert watch.problems[0] is not None
    assert watch.problems[-1] is None
    for planned in order.objects:
        assert read(cloud_settings, instance_key(order.order, planned.number)) == body_of(planned)


@pytest.mark.parametrize("how", ["kill", "pause"])
def test_a_server_that_dies_or_hangs_is_waited_for(
    s3_server: S3Server, cloud_settings: CloudSettings, how: str
) -> None:
    order, ledger, watch = make_order(30), Ledger(), Watch()
    done = threading.Event()

    def prepare(planned):
        if planned.number == 15 and not done.is_set():
            done.set()
            getattr(s3_server, how)()
            back = s3_server.resume if how == "pause" else s3_server.start
            threading.Timer(0.5, back).start()
        return prepared(body_of(planned))

    assert upload(cloud_settings, order, ledger, watch=watch, prepare=prepare) is UploadOutcome.COMMITTED
    assert set(ledger.recorded.values()) == {1}


def test_an_object_the_cloud_lost_is_found_out_and_sent_again(cloud_settings: CloudSettings) -> None:
    order, ledger = make_order(4), Ledger()
    halt = Halt()

    def prepare(planned):
        if planned.number == 4:
            halt.stop()
        return prepared(body_of(planned))

    settings = cloud_settings.model_copy(update={"connections": 1})
    assert upload(settings, order, ledger, halt, prepare=prepare) is UploadOutcome.STOPPED
    assert S3Cloud(settings).head(manifest_key(order.order)) is None
    S3Cloud(settings)._call("delete_object", Key=instance_key(order.order, 2))
    assert upload(settings, order, ledger) is UploadOutcome.COMMITTED
    assert ledger.recorded[2] == 2
    assert read(settings, instance_key(order.order, 2)) == body_of(order.objects[1])


def test_a_cancelled_order_has_a_mark_and_no_manifest(cloud_settings: CloudSettings) -> None:
    order, ledger, halt = make_order(50), Ledger(), Halt()

    def prepare(planned):
        if planned.number == 10:
            halt.cancel()
        return prepared(body_of(planned))

    assert upload(cloud_settings, order, ledger, halt, prepare=prepare) is UploadOutcome.CANCELLED
    assert json.loads(read(cloud_settings, cancel_key(order.order)))["reason"] == "cancelled"
    assert S3Cloud(cloud_settings).head(manifest_key(order.order)) is None
    assert len(ledger.kept) < 50


def test_a_cancel_during_an_outage_ends_the_upload(s3_server: S3Server, cloud_settings: CloudSettings) -> None:
    order, halt, watch = make_order(5), Halt(), Watch()
    s3_server.stop()
    outcome: list[UploadOutcome] = []
    thread = threading.Thread(target=lambda: outcome.append(upload(cloud_settings, order, Ledger(), halt, watch)))
    thread.start()
    assert watch.trouble.wait(60)
    halt.cancel()
    thread.join(60)
    s3_server.start()
    assert outcome == [UploadOutcome.CANCELLED]


def test_wrong_credentials_end_an_upload_after_a_bounded_number_of_refusals(s3_server: S3Server) -> None:
    settings = s3_server.start().settings(secret_access_key="wrong", retry_first_s=0.01, refusals_max=2, connections=1)
    watch = Watch()
    with pytest.raises(Permanent) as refused:
        upload(settings, make_order(3), Ledger(), watch=watch)
    assert refused.value.code == "cloud_credentials"
    assert watch.problems[0] is not None


def test_an_object_that_may_not_leave_is_counted_and_not_sent(cloud_settings: CloudSettings) -> None:
    order, ledger = make_order(3), Ledger()

    def prepare(planned):
        return Prepared(b"", "", "screenshot") if planned.number == 2 else prepared(body_of(planned))

    upload(cloud_settings, order, ledger, prepare=prepare)
    manifest = json.loads(read(cloud_settings, manifest_key(order.order)))
    assert [entry["number"] for entry in manifest["objects"]] == [1, 3]
    assert manifest["excluded"] == 1
    assert ledger.left_out == {2: "screenshot"}


def test_a_study_of_which_nothing_may_leave_is_refused(cloud_settings: CloudSettings) -> None:
    with pytest.raises(Permanent) as refused:
        upload(cloud_settings, make_order(2), Ledger(), prepare=lambda p: Prepared(b"", "", "screenshot"))
    assert refused.value.code == "nothing_to_send"


def test_an_outbound_hit_ends_the_order_before_its_manifest(cloud_settings: CloudSettings) -> None:
    order = make_order(30)

    def prepare(planned):
        if planned.number == 7:
            raise DeidError("An identifier was found.", code="outbound_hit")
        return prepared(body_of(planned))

    with pytest.raises(DeidError):
        upload(cloud_settings, order, Ledger(), prepare=prepare)
    assert S3Cloud(cloud_settings).head(manifest_key(order.order)) is None
