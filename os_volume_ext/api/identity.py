"""Identity: the caller's credentials, from what the auth filter stored in the environ.

The keys are ``keystone.token_info``, ``HTTP_X_IDENTITY_STATUS``, ``HTTP_X_USER_ID``, ``HTTP_X_PROJECT_ID``,
``HTTP_X_ROLES``, ``HTTP_X_SERVICE_ROLES``, ``HTTP_X_DOMAIN_ID``, ``HTTP_X_USER_DOMAIN_ID``,
``HTTP_X_PROJECT_DOMAIN_ID``, ``HTTP_OPENSTACK_SYSTEM_SCOPE``. A client can send all of these but the
first one, so without it the others are ignored.
"""

from collections.abc import Mapping
from typing import Any

from ..errors import Kind
from .faults import Fault

TOKEN_INFO = "keystone.token_info"  # noqa: S105 - a key of the environ, not a secret


def credentials(environ: Mapping[str, Any]) -> dict[str, Any]:
    """Return the caller's credentials under the names that policies use.

    :param environ: the WSGI environment.
    :raises Fault: of kind ``UNAUTHORIZED``, if no auth filter confirmed an identity.
    """
    if environ.get(TOKEN_INFO) is None or environ.get("HTTP_X_IDENTITY_STATUS") != "Confirmed":
        raise Fault(
            Kind.UNAUTHORIZED, "This server needs a valid token in X-Auth-Token.", {"WWW-Authenticate": "Keystone"}
        )
    return {
        "user_id": environ.get("HTTP_X_USER_ID"),
        "project_id": environ.get("HTTP_X_PROJECT_ID"),
        "roles": _names(environ.get("HTTP_X_ROLES")),
        "service_roles": _names(environ.get("HTTP_X_SERVICE_ROLES")),
        "domain_id": environ.get("HTTP_X_DOMAIN_ID"),
        "user_domain_id": environ.get("HTTP_X_USER_DOMAIN_ID"),
        "project_domain_id": environ.get("HTTP_X_PROJECT_DOMAIN_ID"),
        "system_scope": environ.get("HTTP_OPENSTACK_SYSTEM_SCOPE"),
    }


def _names(text: str | None) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()] if text else []
