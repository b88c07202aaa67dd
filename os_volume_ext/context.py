"""The request context: what the layers below HTTP know of the caller and of the request."""

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

ATTACHMENTS = "os_compute_api:os-volumes-attachments:"
"""The prefix of the policy rules' names, which are Nova's."""


def new_request_id() -> str:
    """Return a new request id, in OpenStack's syntax."""
    return f"req-{uuid.uuid4()}"


def operator_context() -> "RequestContext":
    """Return the context of work that the operator does, such as reconcile: no credentials, and allowed everything."""
    return RequestContext(new_request_id(), {}, lambda action, project_id: True)


@dataclass(slots=True)
class RequestContext:
    """The caller of one request, as the auth filter confirmed it."""

    request_id: str
    """The id in log lines and in the response."""
    credentials: Mapping[str, Any] = field(repr=False)
    """The caller's, under the names that policies use, such as ``user_id``, ``project_id`` and ``is_admin``."""
    enforce: Callable[[str, str | None], bool] = field(repr=False)
    """Returns whether policy allows the caller an action (``index``, ``show``, ``create``, ``update``, ``swap`` or
    ``delete``) in a project."""
    environ: Mapping[str, Any] = field(repr=False, default_factory=dict)
    """The WSGI environment of the request, with which the compute API is called as the caller."""
    path_project: str | None = None
    """The project in the request's path, which goes into the compute API's path too; None if there is none."""
    _allowed: dict[tuple[str, str | None], bool] = field(init=False, repr=False, compare=False, default_factory=dict)

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

    def can(self, action: str, project_id: str | None) -> bool:
        """Return whether policy allows the caller an action in a project.

        :param action: such as ``index``.
        :param project_id: the project; None if it is unknown.
        """
        # Cached: it is checked for the caller's project and then for the server's, which mostly are the same.
        key = action, project_id
        if key not in self._allowed:
            self._allowed[key] = self.enforce(action, project_id)
        return self._allowed[key]
