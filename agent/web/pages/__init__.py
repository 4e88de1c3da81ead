"""The pages: one blueprint a page. Each renders on the server and works without JavaScript."""

from __future__ import annotations

from flask import Blueprint


def blueprints() -> list[Blueprint]:
    """Return the blueprints of all pages."""
    from agent.web.pages import (
        account,
        audit,
        connections,
        health,
        home,
        quality,
        studies,
        study,
        users,
    )

    modules = (account, home, studies, study, quality, connections, audit, users, health)
    return [module.blueprint for module in modules]
