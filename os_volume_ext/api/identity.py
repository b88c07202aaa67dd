"""Identity: the caller, from what the auth filter stored in the environ.

The keys are ``keystone.token_info``, ``HTTP_X_IDENTITY_STATUS``, ``HTTP_X_USER_ID``, ``HTTP_X_PROJECT_ID``,
``HTTP_X_ROLES``, ``HTTP_X_DOMAIN_ID``, ``HTTP_X_USER_DOMAIN_ID``, ``HTTP_X_PROJECT_DOMAIN_ID``,
``HTTP_X_IS_ADMIN_PROJECT``; and, of the service that sent the request, ``HTTP_X_SERVICE_USER_ID``,
``HTTP_X_SERVICE_PROJECT_ID``, ``HTTP_X_SERVICE_ROLES``, ``HTTP_X_SERVICE_USER_DOMAIN_ID`` and
``HTTP_X_SERVICE_PROJECT_DOMAIN_ID``. A client can send all of these but the first one, so without it the others are
ignored.
"""

from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any, NamedTuple

from ..context import Enforce
from ..errors import Kind
from ..policy import Policy, RuleSet
from .faults import Fault

TOKEN_INFO = "keystone.token_info"  # noqa: S105 - a key of the environ, not a secret

_MAX_CALLERS = 1024


class Caller(NamedTuple):
    """Who sent a request, and what policy allows them."""

    credentials: Mapping[str, Any]
    """Under the names that policies use."""
    enforce: Enforce


class Callers:
    """The callers of requests.

    They are remembered as long as the rules stay the same, since reading their headers and asking oslo.policy takes
    longer than the query of a row: 200 microseconds.
    """

    def __init__(self, policy: Policy) -> None:
        """Take the policy that decides what they are allowed."""
        self._policy = policy
        self._remembered = lru_cache(maxsize=_MAX_CALLERS)(_bind)

    def of(self, environ: Mapping[str, Any]) -> Caller:
        """Return the caller that an auth filter confirmed.

        :param environ: the WSGI environment.
        :raises Fault: of kind ``UNAUTHORIZED``, if none did.
        :raises ConfigurationError: if the files with rules have changed and can't be read.
        """
        token_info = environ.get(TOKEN_INFO)
        if token_info is None or environ.get("HTTP_X_IDENTITY_STATUS") != "Confirmed":
            raise Fault(
                Kind.UNAUTHORIZED, "This server needs a valid token in X-Auth-Token.", {"WWW-Authenticate": "Keystone"}
            )
        rules = self._policy.current()
        bind = self._remembered if rules.is_self_contained else _bind
        return bind(rules, _system_scope(token_info), *map(environ.get, _KEYS))


_KEYS = (
    "HTTP_X_USER_ID",
    "HTTP_X_USER_DOMAIN_ID",
    "HTTP_X_DOMAIN_ID",
    "HTTP_X_PROJECT_ID",
    "HTTP_X_PROJECT_DOMAIN_ID",
    "HTTP_X_ROLES",
    "HTTP_X_IS_ADMIN_PROJECT",
    "HTTP_X_SERVICE_USER_ID",
    "HTTP_X_SERVICE_USER_DOMAIN_ID",
    "HTTP_X_SERVICE_PROJECT_ID",
    "HTTP_X_SERVICE_PROJECT_DOMAIN_ID",
    "HTTP_X_SERVICE_ROLES",
)


def _bind(rules: RuleSet, system_scope: str | None, *values: str | None) -> Caller:
    headers = dict(zip(_KEYS, values, strict=True))
    bound, enforce = rules.bind(_credentials(system_scope, headers))
    return Caller(MappingProxyType(bound), enforce)


def _credentials(system_scope: str | None, headers: Mapping[str, str | None]) -> dict[str, Any]:
    """Return credentials under the names of oslo.context."""
    return {
        "user_id": headers["HTTP_X_USER_ID"] or None,
        "user_domain_id": headers["HTTP_X_USER_DOMAIN_ID"],
        "system_scope": system_scope,
        "domain_id": headers["HTTP_X_DOMAIN_ID"],
        "project_id": headers["HTTP_X_PROJECT_ID"] or None,
        "project_domain_id": headers["HTTP_X_PROJECT_DOMAIN_ID"],
        "roles": _names(headers["HTTP_X_ROLES"]),
        # Without the header it is true, as in oslo.context, so that policies without admin projects work.
        "is_admin_project": (headers["HTTP_X_IS_ADMIN_PROJECT"] or "true").lower() == "true",
        "service_user_id": headers["HTTP_X_SERVICE_USER_ID"],
        "service_user_domain_id": headers["HTTP_X_SERVICE_USER_DOMAIN_ID"],
        "service_project_id": headers["HTTP_X_SERVICE_PROJECT_ID"],
        "service_project_domain_id": headers["HTTP_X_SERVICE_PROJECT_DOMAIN_ID"],
        "service_roles": _names(headers["HTTP_X_SERVICE_ROLES"]),
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
