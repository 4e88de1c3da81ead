"""The web process: address, TLS, its end with the engine."""

from __future__ import annotations

import http.client
import json
import multiprocessing
import os
import ssl
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from agent.config import Settings
from agent.errors import ConfigError
from agent.web.server import check_address, make_server, run_web
from tests.web.hospital import Hospital


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.1.2.3", "agent.hospital"])
def test_an_address_that_others_reach_needs_tls(host: str) -> None:
    with pytest.raises(ConfigError, match="no TLS"):
        check_address(Settings(web={"host": host}).web)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_loopback_needs_none(host: str) -> None:
    check_address(Settings(web={"host": host}).web)


def test_a_taken_port_is_one_clear_error(hospital: Hospital, tmp_path: Path) -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        settings = Settings(data_dir=tmp_path, web={"port": taken.getsockname()[1]})
        with pytest.raises(ConfigError, match="cannot listen"):
            make_server(settings, hospital.app())


def _wait_for(path: Path) -> dict[str, object]:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if path.is_file():
            return json.loads(path.read_text())
        time.sleep(0.02)
    raise AssertionError("the web process wrote no address")


def _run(settings: Settings, pipe: object) -> None:
    run_web(settings, pipe)  # type: ignore[arg-type]


@pytest.mark.parametrize("with_tls", [False, True])
def test_the_process_serves_and_ends_when_the_engines_pipe_closes(tmp_path: Path, with_tls: bool) -> None:
    web = _certificate(tmp_path) if with_tls else {}
    hospital = Hospital(tmp_path, **web)
    hospital.close()
    context = multiprocessing.get_context("spawn")
    engine, child = context.Pipe()
    process = context.Process(target=_run, args=(hospital.settings, child), daemon=True)
    process.start()
    child.close()
    try:
        address = _wait_for(hospital.settings.data_dir / "run" / "web.json")
        assert str(address["url"]).startswith("https:" if with_tls else "http:")
        if with_tls:
            trust = ssl.create_default_context(cafile=str(tmp_path / "cert.pem"))
            connection = http.client.HTTPSConnection("127.0.0.1", int(str(address["port"])), context=trust, timeout=10)
        else:
            connection = http.client.HTTPConnection("127.0.0.1", int(str(address["port"])), timeout=10)
        connection.request("GET", "/healthz")
        answer = connection.getresponse()
        assert answer.status == 200 and json.loads(answer.read()) == {"status": "ok"}
        if with_tls:
            assert "max-age" in (answer.headers["Strict-Transport-Security"] or "")
        assert "cheroot" not in str(answer.headers).lower()
        connection.close()
        os.kill(process.pid or 0, 2)  # Ctrl-C in the terminal reaches children too; only the engine decides
        process.join(0.2)
        assert process.is_alive()
    finally:
        engine.close()
        process.join(10)
        assert not process.is_alive()
        process.close()


def _certificate(folder: Path) -> dict[str, object]:
    import ipaddress

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "agent")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
        .not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=2))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    (folder / "cert.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )  # fmt: skip
    return {"tls_certificate": folder / "cert.pem", "tls_key": folder / "key.pem"}
