"""What Keystone's v3 API says of a token; the auth filter and the identity API say the same."""

import secrets
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from .data import DOMAIN, User

LIFETIME = timedelta(hours=1)
"""What a token is said to live, counted from the moment that somebody asks: the sample's tokens never expire."""


def document(user: User, methods: Sequence[str], *, scoped: bool = True) -> dict[str, Any]:
    """Return the token as a JSON object, without a catalog.

    :param methods: how the user proved to be the user, such as ``["password"]``.
    :param scoped: whether the token is for the user's project; without it there are no roles.
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
