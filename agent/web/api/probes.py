"""Probes: is it alive, is it ready, what does it count.

Place: blueprint ``probes``. ``/healthz`` and ``/readyz`` are open, ``/metrics`` answers loopback or whoever has a
token. It must never say more to strangers than yes or no.
"""

from __future__ import annotations

import ipaddress

from flask import Blueprint, Response, jsonify, request
from werkzeug.exceptions import Unauthorized

from agent import metrics
from agent.web import status_file
from agent.web.access import open_to_all
from agent.web.context import web, who

blueprint = Blueprint("probes", __name__)


@blueprint.get("/healthz")
@open_to_all
def alive() -> Response:
    """Say that the web process answers."""
    return jsonify(status="ok")


@blueprint.get("/readyz")
@open_to_all
def ready() -> tuple[Response, int]:
    """Say whether the agent accepts images."""
    status = status_file.read(web().settings, web().clock.timestamp())
    return jsonify(ready=status.is_ready, reason=status.because), 200 if status.is_ready else 503


@blueprint.get("/metrics")
@open_to_all
def prometheus() -> Response:
    """Return all metrics in the Prometheus text format, to loopback or with a token."""
    if who() is None and not _is_loopback(request.remote_addr):
        raise Unauthorized("Metrics need a token.")
    return Response(metrics.render(), mimetype="text/plain; version=0.0.4; charset=utf-8")


def _is_loopback(address: str | None) -> bool:
    try:
        parsed = ipaddress.ip_address(address or "")
    except ValueError:
        return False
    mapped = getattr(parsed, "ipv4_mapped", None)
    return parsed.is_loopback or (mapped is not None and mapped.is_loopback)
