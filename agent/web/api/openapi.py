"""The OpenAPI document, made from the routes and the models.

Place: ``documented`` marks each route of the API; the document lists every route under ``/api/v1`` and a test
refuses one that is not marked. It must never describe by hand what a model says.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, TypeVar

from flask import Blueprint, Response, current_app, jsonify
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from agent.web.access import open_to_all, rule_of

V = TypeVar("V", bound=Callable[..., object])

blueprint = Blueprint("openapi", __name__, url_prefix="/api/v1")
_PARAMETER = re.compile(r"<(?:(\w+):)?(\w+)>")


@dataclass(frozen=True, slots=True)
class Description:
    """What the document says of a route."""

    summary: str
    answer: type[BaseModel] | None
    body: type[BaseModel] | None
    query: tuple[str, ...]
    status: int
    media_type: str


def documented(
    summary: str,
    *,
    answer: type[BaseModel] | None = None,
    body: type[BaseModel] | None = None,
    query: tuple[str, ...] = (),
    status: int = 200,
    media_type: str = "application/json",
) -> Callable[[V], V]:
    """Describe a route for the document."""

    def mark(view: V) -> V:
        view.api_description = Description(summary, answer, body, query, status, media_type)  # type: ignore[attr-defined]
        return view

    return mark


@blueprint.get("/openapi.json")
@documented("This document")
@open_to_all
def document() -> Response:
    """Return the OpenAPI document."""
    return jsonify(build())


def build() -> dict[str, Any]:
    """Make the document from the routes of the running app."""
    from agent.web.api.models import ErrorAnswer

    routes = sorted(
        (rule for rule in current_app.url_map.iter_rules() if rule.rule.startswith("/api/")), key=lambda rule: rule.rule
    )
    described: list[tuple[Any, Any]] = [(rule, current_app.view_functions[rule.endpoint]) for rule in routes]
    models: set[type[BaseModel]] = {ErrorAnswer}
    for _, view in described:
        description: Description = view.api_description
        models |= {model for model in (description.answer, description.body) if model is not None}
    _, schemas = models_json_schema(
        [(model, "serialization") for model in sorted(models, key=lambda m: m.__name__)],
        ref_template="#/components/schemas/{model}",
    )
    paths: dict[str, dict[str, Any]] = {}
    for rule, view in described:
        path = _PARAMETER.sub(r"{\2}", rule.rule)
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
            paths.setdefault(path, {})[method.lower()] = _operation(rule.rule, rule.endpoint, view)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Imaging ingestion agent", "version": version("imaging-ingestion-agent")},
        "paths": paths,
        "components": {
            "schemas": schemas.get("$defs", {}),
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(rule: str, endpoint: str, view: Any) -> dict[str, Any]:
    description: Description = view.api_description
    roles = rule_of(view) or frozenset()
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "integer" if kind == "int" else "string"}}
        for kind, name in _PARAMETER.findall(rule)
    ] + [{"name": name, "in": "query", "schema": {"type": "string"}} for name in description.query]
    schema = _reference(description.answer) if description.answer else {}
    operation: dict[str, Any] = {
        "operationId": endpoint.replace(".", "_"),
        "summary": description.summary,
        "description": (view.__doc__ or "").strip(),
        "parameters": parameters,
        "responses": {
            str(description.status): {
                "description": description.summary,
                "content": {description.media_type: {"schema": schema}},
            },
            "default": {
                "description": "An error",
                "content": {"application/json": {"schema": {"$ref": "#/components/schemas/ErrorAnswer"}}},
            },
        },
    }
    if "open" not in roles:
        operation["security"] = [{"token": []}]
        operation["x-roles"] = sorted(str(role) for role in roles)
    if description.body is not None:
        operation["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": _reference(description.body)}},
        }
    return operation


def _reference(model: type[BaseModel]) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{model.__name__}"}
