"""Which addresses studies may travel to.

Job: accept TLS to anywhere and plain HTTP to this machine only, and a bucket with a name. Place: called by ``s3``
before anything is sent and by the check of the settings; pure.
"""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from agent.errors import ConfigError


def is_loopback(endpoint_url: str) -> bool:
    """Say whether an endpoint is this machine itself."""
    host = urlsplit(endpoint_url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def check_bucket(bucket: str) -> None:
    """Refuse to go on without a bucket.

    Raises
    ------
    ConfigError
        When none is named.
    """
    if not bucket:
        raise ConfigError(
            "cloud.bucket is not set.", code="cloud_bucket", hint="Name the bucket, or set cloud.adapter = none."
        )


def check_endpoint(endpoint_url: str) -> None:
    """Refuse an endpoint that would carry studies in clear.

    Raises
    ------
    ConfigError
        If it is no address, or plain HTTP to another machine.
    """
    if not endpoint_url:
        return
    parts = urlsplit(endpoint_url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query:
        raise ConfigError(
            "cloud.endpoint_url is not an address.",
            code="cloud_endpoint",
            hint="Write it as https://host or https://host:port.",
        )
    if parts.scheme == "http" and not is_loopback(endpoint_url):
        raise ConfigError(
            "cloud.endpoint_url is plain HTTP to another machine; studies travel by TLS only.",
            code="cloud_endpoint",
            hint="Write it with https://.",
        )
