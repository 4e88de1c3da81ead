"""One object on its way to a real S3 server."""

from __future__ import annotations

import hashlib

import pytest

from agent.cloud.contract import MemoryParts
from agent.cloud.endpoint import check_endpoint
from agent.cloud.package import instance_key, new_order
from agent.cloud.s3 import S3Cloud
from agent.config import CloudSettings
from agent.demo.s3_server import S3Server
from agent.errors import ConfigError, Permanent, Transient
from tests.conftest import program

BIG = bytes(range(256)) * 49_152  # 12 MiB: three parts


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def fresh_key() -> str:
    return instance_key(new_order(), 1)


def test_an_object_is_stored_with_its_whole_sha256(cloud_settings: CloudSettings) -> None:
    cloud, key = S3Cloud(cloud_settings), fresh_key()
    result = cloud.put_object(key, b"abc", sha(b"abc"))
    stored = cloud.head(key)
    assert result.sent_bytes == 3
    assert stored is not None
    assert (stored.size_bytes, stored.sha256, stored.etag) == (3, sha(b"abc"), result.etag)


def test_an_object_that_is_there_is_not_sent_again(cloud_settings: CloudSettings) -> None:
    cloud, key = S3Cloud(cloud_settings), fresh_key()
    cloud.put_object(key, b"abc", sha(b"abc"))
    again = cloud.put_object(key, b"abc", sha(b"abc"))
    assert again.was_there
    assert again.sent_bytes == 0


def test_other_content_under_the_same_key_is_refused_and_never_overwritten(cloud_settings: CloudSettings) -> None:
    cloud, key = S3Cloud(cloud_settings), fresh_key()
    cloud.put_object(key, b"abc", sha(b"abc"))
    with pytest.raises(Permanent, match="another object") as refused:
        cloud.put_object(key, b"xyz", sha(b"xyz"))
    assert refused.value.code == "object_differs"
    stored = cloud.head(key)
    assert stored is not None
    assert stored.sha256 == sha(b"abc")


def test_bytes_that_do_not_match_their_checksum_are_refused_by_the_server(cloud_settings: CloudSettings) -> None:
    cloud, key = S3Cloud(cloud_settings), fresh_key()
    with pytest.raises(Permanent) as refused:
        cloud.put_object(key, b"abc", sha(b"another"))
    assert refused.value.code == "cloud_checksum"
    assert cloud.head(key) is None


def test_a_large_object_goes_in_parts_and_keeps_its_whole_sha256(cloud_settings: CloudSettings) -> None:
    cloud, key, ledger = S3Cloud(cloud_settings), fresh_key(), MemoryParts()
    result = cloud.put_object(key, BIG, sha(BIG), ledger)
    stored = cloud.head(key)
    assert [part.size_bytes for part in ledger.parts()] == [5_242_880, 5_242_880, 2_097_152]
    assert result.sent_bytes == len(BIG)
    assert stored is not None
    assert (stored.size_bytes, stored.sha256) == (len(BIG), sha(BIG))
    assert cloud.put_object(key, BIG, sha(BIG), ledger).was_there


class _Interrupted(MemoryParts):
    """Loses its process after the first confirmed part."""

    def record(self, part):
        super().record(part)
        raise KeyboardInterrupt


def test_a_resumed_large_object_sends_only_the_missing_parts(cloud_settings: CloudSettings) -> None:
    key, interrupted = fresh_key(), _Interrupted()
    with pytest.raises(KeyboardInterrupt):
        S3Cloud(cloud_settings).put_object(key, BIG, sha(BIG), interrupted)
    kept = MemoryParts()
    kept.begin(str(interrupted.upload_id()))
    kept.record(interrupted.parts()[0])
    result = S3Cloud(cloud_settings).put_object(key, BIG, sha(BIG), kept)
    assert result.sent_bytes == len(BIG) - 5_242_880


def test_an_upload_the_cloud_forgot_is_begun_again(cloud_settings: CloudSettings) -> None:
    cloud, key, ledger = S3Cloud(cloud_settings), fresh_key(), MemoryParts()
    ledger.begin("no-such-upload")
    assert cloud.put_object(key, BIG, sha(BIG), ledger).sent_bytes == len(BIG)
    assert ledger.upload_id() != "no-such-upload"


def test_an_abandoned_upload_leaves_no_parts(cloud_settings: CloudSettings) -> None:
    key, interrupted = fresh_key(), _Interrupted()
    cloud = S3Cloud(cloud_settings)
    with pytest.raises(KeyboardInterrupt):
        cloud.put_object(key, BIG, sha(BIG), interrupted)
    cloud.abandon(key, interrupted)
    cloud.abandon(key, interrupted)
    with pytest.raises(Permanent) as unknown:
        cloud._call("list_parts", Key=key, UploadId=interrupted.upload_id())
    assert unknown.value.code == "upload_unknown"


def test_server_side_encryption_is_passed_through(cloud_settings: CloudSettings) -> None:
    cloud, key = S3Cloud(cloud_settings.model_copy(update={"server_side_encryption": "AES256"})), fresh_key()
    cloud.put_object(key, b"abc", sha(b"abc"))
    assert cloud._call("head_object", Key=key)["ServerSideEncryption"] == "AES256"


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        ({"secret_access_key": "wrong"}, "cloud_credentials", "credentials"),
        ({"access_key_id": "nobody"}, "cloud_credentials", "credentials"),
        ({"bucket": "no-such-bucket"}, "cloud_bucket", "bucket does not exist"),
        ({"bucket": "not_a/bucket"}, "cloud_bucket", "bucket does not exist"),
    ],
)
def test_a_wrong_setting_is_named_at_once(
    s3_server: S3Server, change: dict[str, object], code: str, words: str
) -> None:
    with pytest.raises(Permanent, match=words) as refused:
        S3Cloud(s3_server.start().settings(**change)).check()
    assert refused.value.code == code
    assert refused.value.hint
    assert "wrong" not in str(refused.value)


def test_a_clock_that_is_off_is_named(cloud_settings: CloudSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    import datetime

    import botocore.auth

    real = botocore.auth.get_current_datetime
    monkeypatch.setattr(
        botocore.auth,
        "get_current_datetime",
        lambda remove_tzinfo=True: real(remove_tzinfo) - datetime.timedelta(hours=3),
    )
    with pytest.raises(Permanent, match="clocks") as refused:
        S3Cloud(cloud_settings).check()
    assert refused.value.code == "cloud_clock"


def test_a_server_that_is_not_there_is_transient(s3_server: S3Server) -> None:
    with pytest.raises(Transient):
        S3Cloud(s3_server.settings(endpoint_url="http://127.0.0.1:9")).check()


@pytest.mark.parametrize(
    "url", ["http://s3.example.org", "http://192.0.2.1:9000", "ftp://example.org", "s3.example.org"]
)
def test_plain_http_to_another_machine_is_refused(url: str) -> None:
    with pytest.raises(ConfigError):
        check_endpoint(url)


@pytest.mark.parametrize(
    "url", ["", "https://s3.example.org", "http://127.0.0.1:9000", "http://[::1]:9000", "http://localhost"]
)
def test_tls_and_loopback_are_accepted(url: str) -> None:
    check_endpoint(url)


def test_the_environment_cannot_lead_studies_to_plain_http(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://192.0.2.1")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://192.0.2.1")
    client = S3Cloud(CloudSettings(adapter="s3", bucket="abc", access_key_id="a", secret_access_key="b"))._client()
    assert client.meta.endpoint_url.startswith("https://")


def test_a_certificate_that_is_not_valid_is_refused(tmp_path, s3_server: S3Server) -> None:
    import ssl
    import subprocess
    import threading
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

    subprocess.run(
        [program("openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
         "-days", "1", "-subj", "/CN=localhost", "-keyout", tmp_path / "key.pem", "-out", tmp_path / "cert.pem"],
        check=True, capture_output=True,
    )  # fmt: skip
    received: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            received.append(self.path)

    class Server(ThreadingHTTPServer):
        def handle_error(self, request, client_address) -> None:
            """The client hangs up on us, as it should."""

    server = Server(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        with pytest.raises(Permanent) as refused:
            S3Cloud(s3_server.settings(endpoint_url=f"https://localhost:{server.server_port}")).put_object(
                "k", b"a", sha(b"a")
            )
        assert refused.value.code == "cloud_tls"
        assert received == []
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
