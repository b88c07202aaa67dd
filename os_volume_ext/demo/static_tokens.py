"""An auth filter with fixed tokens, in the place of keystonemiddleware's ``auth_token``.

It behaves as that one does with ``delay_auth_decision``: a request without a valid token goes on, marked
``X-Identity-Status: Invalid``, and whoever needs to know the caller refuses it. No header that tells who
the caller is comes through from outside.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ..wsgi import WSGIApp
from . import options, tokens
from .data import DOMAIN, USERS_BY_TOKEN, User

# Each of them also exists for the service that sent the request: X-Service-User-Id and so on.
_OF_USER_AND_SERVICE = (
    "DOMAIN_ID",
    "DOMAIN_NAME",
    "PROJECT_ID",
    "PROJECT_NAME",
    "PROJECT_DOMAIN_ID",
    "PROJECT_DOMAIN_NAME",
    "USER_ID",
    "USER_NAME",
    "USER_DOMAIN_ID",
    "USER_DOMAIN_NAME",
    "ROLES",
    "IDENTITY_STATUS",
)
IDENTITY_KEYS = frozenset((
    *(f"HTTP_X_{name}" for name in _OF_USER_AND_SERVICE),
    *(f"HTTP_X_SERVICE_{name}" for name in _OF_USER_AND_SERVICE),
    "HTTP_X_SERVICE_CATALOG",
    "HTTP_X_IS_ADMIN_PROJECT",
    "HTTP_X_ROLE",
    "HTTP_X_USER",
    "HTTP_X_TENANT",
    "HTTP_X_TENANT_ID",
    "HTTP_X_TENANT_NAME",
    "HTTP_OPENSTACK_SYSTEM_SCOPE",
    "keystone.token_info",
    "keystone.token_auth",
))  # fmt: skip
"""The environ keys that tell who the caller is, and that only this filter may set."""


def filter_factory(global_conf: Mapping[str, str], **local_conf: str) -> Callable[[WSGIApp], WSGIApp]:
    """Make the filter for PasteDeploy; it has no options. :raises ValueError: if it is given one."""
    options.read(local_conf)
    return StaticTokens


class StaticTokens:
    """The filter, as WSGI middleware."""

    def __init__(self, app: WSGIApp) -> None:
        """:param app: the application behind it."""
        self._app = app

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        for key in IDENTITY_KEYS:
            environ.pop(key, None)
        environ.update(_identity(environ))
        return self._app(environ, start_response)


def _identity(environ: Mapping[str, Any]) -> dict[str, Any]:
    # As auth_token does: the second name counts only where the first is missing, not where it is wrong.
    token = environ.get("HTTP_X_AUTH_TOKEN", environ.get("HTTP_X_STORAGE_TOKEN"))
    user = USERS_BY_TOKEN.get(token) if token else None
    # No service has a token here, so one that is sent is wrong.
    service = {"HTTP_X_SERVICE_IDENTITY_STATUS": "Invalid"} if environ.get("HTTP_X_SERVICE_TOKEN") else {}
    if user is None:
        return {"HTTP_X_IDENTITY_STATUS": "Invalid", **service}
    return {
        "HTTP_X_IDENTITY_STATUS": "Confirmed",
        "keystone.token_info": {"token": tokens.document(user, ["password"])},
        **_headers(user),
        **service,
    }


def _headers(user: User) -> dict[str, str]:
    roles = ",".join(user.roles)
    return {
        "HTTP_X_USER_ID": user.id,
        "HTTP_X_USER_NAME": user.name,
        "HTTP_X_USER_DOMAIN_ID": DOMAIN["id"],
        "HTTP_X_USER_DOMAIN_NAME": DOMAIN["name"],
        "HTTP_X_PROJECT_ID": user.project.id,
        "HTTP_X_PROJECT_NAME": user.project.name,
        "HTTP_X_PROJECT_DOMAIN_ID": DOMAIN["id"],
        "HTTP_X_PROJECT_DOMAIN_NAME": DOMAIN["name"],
        "HTTP_X_ROLES": roles,
        # What follows is deprecated, and still set.
        "HTTP_X_ROLE": roles,
        "HTTP_X_USER": user.name,
        "HTTP_X_TENANT": user.project.name,
        "HTTP_X_TENANT_ID": user.project.id,
        "HTTP_X_TENANT_NAME": user.project.name,
        "HTTP_X_IS_ADMIN_PROJECT": "True",
    }
