"""The request context: what the layers below HTTP know of the caller and of the request."""

import logging
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

LOG = logging.getLogger(__name__)

ATTACHMENTS = "os_compute_api:os-volumes-attachments:"
"""The prefix of the policy rules' names, which are Nova's."""

UNKNOWN_USER = ""
"""In place of a server's user where the compute API does not show it: no caller has this id."""

Enforce = Callable[[str, str | None, str | None], bool | None]
"""Returns whether a policy rule is true for the caller and a server.

It takes the rule's name, the server's project (None: unknown) and the server's user: None before the look-up,
``UNKNOWN_USER`` if it is unknown after it. It returns None if the user is None and the rule depends on it.
"""


def new_request_id() -> str:
    """Return a new request id, in OpenStack's syntax."""
    return f"req-{uuid.uuid4()}"


def operator_context() -> "RequestContext":
    """Return the context of work that the operator does, such as reconcile: no credentials, and allowed everything."""
    return RequestContext(new_request_id(), {}, lambda *_: True)


@dataclass(slots=True)
class RequestContext:
    """The caller of one request, as the auth filter confirmed it."""

    request_id: str
    """The id in log lines and in the response."""
    credentials: Mapping[str, Any] = field(repr=False)
    """The caller's, under the names that policies use, such as ``user_id``, ``project_id`` and ``is_admin``."""
    enforce: Enforce = field(repr=False)
    """Decides what policy allows the caller."""
    environ: Mapping[str, Any] = field(repr=False, default_factory=dict)
    """The WSGI environment of the request, with which the compute API is called as the caller."""
    path_project: str | None = None
    """The project in the request's path, which goes into the compute API's path too; None if there is none."""

    @property
    def user_id(self) -> str | None:
        """The caller's user."""
        return self.credentials.get("user_id")

    @property
    def project_id(self) -> str | None:
        """The project of the caller's token; None if it has no project."""
        return self.credentials.get("project_id")

    @property
    def is_admin(self) -> bool:
        """Whether the caller is an administrator, by the policy rule ``context_is_admin``."""
        return bool(self.credentials.get("is_admin"))

    def may_be_able(self, action: str) -> bool:
        """Return False if policy denies the caller an action on every server of the caller's project.

        It decides nothing else: which user the server has is not known before the look-up.

        :param action: such as ``index``.
        """
        return self.enforce(ATTACHMENTS + action, self.project_id, None) is not False

    def can(self, action: str, project_id: str | None, user_id: str | None = None) -> bool:
        """Return whether policy allows the caller an action on a server.

        :param action: such as ``index``.
        :param project_id: the server's project; None if it is unknown.
        :param user_id: the server's user; None if the compute API does not show it.
        """
        allowed = self.enforce(ATTACHMENTS + action, project_id, None)
        if allowed is None:
            allowed = self.enforce(ATTACHMENTS + action, project_id, user_id or UNKNOWN_USER)
        return bool(allowed)

    def log_denied(self, *actions: str) -> None:
        """Log that policy denied the caller these actions."""
        LOG.info(
            "%s policy denied %s to user %r, project %r, roles %r",
            self.request_id,
            ", ".join(ATTACHMENTS + action for action in actions),
            self.user_id,
            self.project_id,
            self.credentials.get("roles"),
        )
