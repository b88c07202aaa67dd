"""Tokens as JSON documents of Keystone's v3 API, for the auth filter and the identity API."""

import secrets
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from .data import DOMAIN, User

LIFETIME = timedelta(hours=1)
"""The time from a request to the token's reported expiry; the sample's tokens never expire."""


def document(user: User, methods: Sequence[str], *, scoped: bool = True) -> dict[str, Any]:
    """Return the token as a JSON object, without a catalog.

    :param user: its user.
    :param methods: the authentication methods, such as ``["password"]``.
    :param scoped: whether it is scoped to the user's project; otherwise it has no roles.
    """
    now = datetime.now(UTC)
    token: dict[str, Any] = {
        "methods": list(methods),
        "audit_ids": [secrets.token_urlsafe(16)],
        "issued_at": _time(now),
        "expires_at": _time(now + LIFETIME),
        "user": {"id": user.id, "name": user.name, "domain": DOMAIN, "password_expires_at": None},
    }
    if scoped:
        token["project"] = {"id": user.project.id, "name": user.project.name, "domain": DOMAIN}
        token["is_domain"] = False
        token["roles"] = [{"id": f"role-{name}", "name": name} for name in user.roles]
    return token


def _time(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
