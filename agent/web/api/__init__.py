"""The JSON API under ``/api/v1`` and the probes."""

from __future__ import annotations

from flask import Blueprint


def blueprints() -> list[Blueprint]:
    """Return the blueprints of the API."""
    from agent.web.api import openapi, probes, studies

    return [studies.blueprint, openapi.blueprint, probes.blueprint]
