"""Identity: the caller's credentials, from what the auth filter stored in the environ.

The keys are ``keystone.token_info``, ``HTTP_X_IDENTITY_STATUS``, ``HTTP_X_USER_ID``, ``HTTP_X_PROJECT_ID``,
``HTTP_X_ROLES``, ``HTTP_X_DOMAIN_ID``, ``HTTP_X_USER_DOMAIN_ID``, ``HTTP_X_PROJECT_DOMAIN_ID``,
``HTTP_X_IS_ADMIN_PROJECT``; and, of the service that sent the request, ``HTTP_X_SERVICE_USER_ID``,
``HTTP_X_SERVICE_PROJECT_ID``, ``HTTP_X_SERVICE_ROLES``, ``HTTP_X_SERVICE_USER_DOMAIN_ID`` and
``HTTP_X_SERVICE_PROJECT_DOMAIN_ID``. A client can send all of these but the first one, so without it the others are
ignored.
"""

from collections.abc import Mapping
from typing import Any

from ..errors import Kind
from .faults import Fault

TOKEN_INFO = "keystone.token_info"  # noqa: S105 - a key of the environ, not a secret


def credentials(environ: Mapping[str, Any]) -> dict[str, Any]:
    """Return the caller's credentials under the names that policies use, which are those of oslo.context.

    :param environ: the WSGI environment.
    :raises Fault: of kind ``UNAUTHORIZED``, if no auth filter confirmed an identity.
    """
    token_info = environ.get(TOKEN_INFO)
    if token_info is None or environ.get("HTTP_X_IDENTITY_STATUS") != "Confirmed":
        raise Fault(
            Kind.UNAUTHORIZED, "This server needs a valid token in X-Auth-Token.", {"WWW-Authenticate": "Keystone"}
        )
    return {
        "user_id": environ.get("HTTP_X_USER_ID") or None,
        "user_domain_id": environ.get("HTTP_X_USER_DOMAIN_ID"),
        "system_scope": _system_scope(token_info),
        "domain_id": environ.get("HTTP_X_DOMAIN_ID"),
        "project_id": environ.get("HTTP_X_PROJECT_ID") or None,
        "project_domain_id": environ.get("HTTP_X_PROJECT_DOMAIN_ID"),
        "roles": _names(environ.get("HTTP_X_ROLES")),
        # Without the header it is true, as in oslo.context, so that policies without admin projects work.
        "is_admin_project": (environ.get("HTTP_X_IS_ADMIN_PROJECT") or "true").lower() == "true",
        "service_user_id": environ.get("HTTP_X_SERVICE_USER_ID"),
        "service_user_domain_id": environ.get("HTTP_X_SERVICE_USER_DOMAIN_ID"),
        "service_project_id": environ.get("HTTP_X_SERVICE_PROJECT_ID"),
        "service_project_domain_id": environ.get("HTTP_X_SERVICE_PROJECT_DOMAIN_ID"),
        "service_roles": _names(environ.get("HTTP_X_SERVICE_ROLES")),
    }


def _system_scope(token_info: Any) -> str | None:
    """Return the system scope of the caller's token.

    The header ``OpenStack-System-Scope`` has that of the service token, if there is one: keystonemiddleware overwrites
    it.
    """
    token = token_info.get("token") if isinstance(token_info, dict) else None
    system = token.get("system") if isinstance(token, dict) else None
    return "all" if isinstance(system, dict) and system.get("all") is True else None


def _names(text: str | None) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()] if text else []
