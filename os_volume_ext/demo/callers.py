"""The caller of a demo application, as confirmed by the auth filter before it."""

from dataclasses import dataclass

from webob import Request

from .http import Refused


@dataclass(frozen=True)
class Caller:
    """A user with a project and roles."""

    user_id: str
    project_id: str
    roles: frozenset[str]

    @property
    def admin(self) -> bool:
        """Whether the caller may see every project."""
        return "admin" in self.roles

    def sees(self, project_id: str) -> bool:
        """Return whether the caller may see a project's resources."""
        return self.admin or project_id == self.project_id

    def refuse_path_of(self, project_id: str) -> None:
        """Check the project in a path.

        :raises Refused: 400, if it is not the caller's own; for administrators too.
        """
        if project_id != self.project_id:
            raise Refused(
                400,
                f"Malformed request URL: URL's project_id '{project_id}' doesn't match "
                f"Context's project_id '{self.project_id}'",
            )


def caller_of(request: Request) -> Caller:
    """Return the sender of a request.

    :raises Refused: 401, if the identity is not confirmed.
    """
    environ = request.environ
    if environ.get("HTTP_X_IDENTITY_STATUS") != "Confirmed":
        raise Refused(401, "This request needs a valid token.", {"WWW-Authenticate": 'Keystone uri="/identity/v3"'})
    roles = frozenset(role.strip().lower() for role in (environ.get("HTTP_X_ROLES") or "").split(","))
    return Caller(environ.get("HTTP_X_USER_ID") or "", environ.get("HTTP_X_PROJECT_ID") or "", roles)
