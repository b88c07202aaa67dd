"""An auth filter with fixed tokens, in place of keystonemiddleware's ``auth_token``.

Like that one with ``delay_auth_decision``, it passes on a request without a valid token with ``X-Identity-Status:
Invalid``, and the application refuses it. Identity headers sent by clients are removed.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ..wsgi import WSGIApp
from . import options, tokens
from .data import DOMAIN, USERS_BY_TOKEN, User

# Each of them also exists for the service that sent the request, such as X-Service-User-Id.
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
"""The environ keys with the caller's identity, which only this filter may set."""


def filter_factory(global_conf: Mapping[str, str], **local_conf: str) -> Callable[[WSGIApp], WSGIApp]:
    """Make the filter for PasteDeploy; it has no options.

    :raises ConfigurationError: if an option is given.
    """
    options.read(local_conf)
    return StaticTokens


class StaticTokens:
    """The filter, as WSGI middleware."""

    def __init__(self, app: WSGIApp) -> None:
        """Wrap an application.

        :param app: the application.
        """
        self._app = app

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        for key in IDENTITY_KEYS:
            environ.pop(key, None)
        environ.update(_identity(environ))
        return self._app(environ, start_response)


def _identity(environ: Mapping[str, Any]) -> dict[str, Any]:
    # As in auth_token: the second header is used only if the first is missing, not if it is invalid.
    token = environ.get("HTTP_X_AUTH_TOKEN", environ.get("HTTP_X_STORAGE_TOKEN"))
    user = USERS_BY_TOKEN.get(token) if token else None
    # There are no service tokens here, so each is invalid.
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
        # auth_token still sets these deprecated headers.
        "HTTP_X_ROLE": roles,
        "HTTP_X_USER": user.name,
        "HTTP_X_TENANT": user.project.name,
        "HTTP_X_TENANT_ID": user.project.id,
        "HTTP_X_TENANT_NAME": user.project.name,
        "HTTP_X_IS_ADMIN_PROJECT": "True",
    }
