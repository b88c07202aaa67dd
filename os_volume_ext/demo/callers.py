"""Who calls a demo application, as the auth filter before it confirmed."""

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
        """Whether the caller sees every project."""
        return "admin" in self.roles

    def sees(self, project_id: str) -> bool:
        """Say whether the caller sees what is a project's."""
        return self.admin or project_id == self.project_id

    def refuse_path_of(self, project_id: str) -> None:
        """Check the project in a path. :raises Refused: 400, if it is not the caller's, an administrator's either."""
        if project_id != self.project_id:
            raise Refused(
                400,
                f"Malformed request URL: URL's project_id '{project_id}' doesn't match "
                f"Context's project_id '{self.project_id}'",
            )


def caller_of(request: Request) -> Caller:
    """Return who sent a request. :raises Refused: 401, if that is not confirmed."""
    environ = request.environ
    if environ.get("HTTP_X_IDENTITY_STATUS") != "Confirmed":
        raise Refused(401, "This request needs a valid token.", {"WWW-Authenticate": 'Keystone uri="/identity/v3"'})
    roles = frozenset(role.strip().lower() for role in (environ.get("HTTP_X_ROLES") or "").split(","))
    return Caller(environ.get("HTTP_X_USER_ID") or "", environ.get("HTTP_X_PROJECT_ID") or "", roles)
