"""Who asks: what the layers below HTTP need to know of the caller and of the request."""

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

ATTACHMENTS = "os_compute_api:os-volumes-attachments:"
"""What Nova's names of our policy rules begin with."""


def new_request_id() -> str:
    """Return a new id, in OpenStack's form."""
    return f"req-{uuid.uuid4()}"


@dataclass(slots=True)
class RequestContext:
    """The caller of one request, as the auth filter confirmed it.

    ``enforce`` answers whether these credentials may do an action (``index``, ``show``, ``create``,
    ``update``, ``swap``, ``delete``) in a project; ``environ`` is the WSGI environment that the request came
    with and ``path_project`` the project in its path, with which the compute API is asked as the caller.
    """

    request_id: str
    user_id: str | None
    project_id: str | None
    credentials: Mapping[str, Any] = field(repr=False)
    enforce: Callable[["RequestContext", str, str | None], bool] = field(repr=False)
    environ: Mapping[str, Any] = field(repr=False, default_factory=dict)
    path_project: str | None = None
    _answers: dict[tuple[str, str | None], bool] = field(init=False, repr=False, compare=False, default_factory=dict)

    def can(self, action: str, project_id: str | None) -> bool:
        """Say whether policy lets the caller do ``action`` in that project."""
        # Asked of the caller's project first and then of the server's, which mostly is the same.
        question = action, project_id
        if question not in self._answers:
            self._answers[question] = self.enforce(self, action, project_id)
        return self._answers[question]

    @property
    def is_admin(self) -> bool:
        """Whether policy (``context_is_admin``) calls the caller an administrator."""
        return bool(self.credentials.get("is_admin"))
