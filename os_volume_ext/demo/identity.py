"""An identity API like Keystone v3, for the fixed users: what the ``openstack`` command needs."""

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from webob import Request, Response

from . import options, tokens
from .data import DOMAIN, IDENTITY_API, PROJECTS, USERS, USERS_BY_TOKEN, Project, User
from .http import Application, Refused, Routes, json_object, json_response, member, path_of, version_document

REGION = "RegionOne"

_Named = TypeVar("_Named", User, Project)

_TITLES = {400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found", 405: "Method Not Allowed"}
_UNAUTHORIZED = "The request you have made requires authentication."


def app_factory(global_conf: Mapping[str, str], **local_conf: str) -> "IdentityApplication":
    """Make the application for PasteDeploy.

    The options ``compute`` (default ``/v2.1``), ``cyclades`` (default ``/compute/v2.0``) and ``volume``
    (default ``/volume/v3``) are the paths of the two compute APIs and of the block-storage API on the same host,
    for the catalog.

    :raises ConfigurationError: if an option is unknown or invalid, with the option's name.
    """
    given = options.read(local_conf, compute="/v2.1", cyclades="/compute/v2.0", volume="/volume/v3")
    return IdentityApplication(**{name: options.url_path(given, name) for name in given})


class IdentityApplication(Application):
    """The identity API."""

    def __init__(self, compute: str, cyclades: str, volume: str) -> None:
        """Make the application.

        :param compute: the path of the compute API in the dialect openstack.
        :param cyclades: the path of that in the dialect cyclades.
        :param volume: the path of the block-storage API.
        """
        self._compute = compute
        self._cyclades = cyclades
        self._volume = volume
        self._routes = Routes(
            {
                "": {"GET": _show_version},
                "/auth/tokens": {"GET": self._validate, "POST": self._issue},
                "/auth/projects": {"GET": _list_own_projects},
                "/projects": {"GET": _list_projects},
                "/projects/{project_id}": {"GET": _show_project},
                "/users/{user_id}": {"GET": _show_user},
                "/users/{user_id}/projects": {"GET": _list_projects_of},
            }
        )

    def respond(self, request: Request) -> Response:
        """Return the response.

        :raises Refused: for an error.
        """
        response = self._routes.find(request.method, path_of(request))(request)
        response.vary = ("X-Auth-Token",)
        return response

    def fault(self, refused: Refused) -> Response:
        """Return the response for an error, in Keystone's format."""
        error = {"code": refused.code, "message": refused.message, "title": _TITLES[refused.code]}
        headers = {"WWW-Authenticate": 'Keystone uri="/identity/v3"'} if refused.code == 401 else {}
        return json_response({"error": error}, refused.code, {**headers, **refused.headers})

    def _issue(self, request: Request) -> Response:
        auth = member(json_object(request), "auth")
        identity = member(auth, "identity")
        methods, user = _authenticate(identity)
        return self._token_response(request, user, methods, 201, scoped=_is_scoped(auth.get("scope"), user))

    def _validate(self, request: Request) -> Response:
        caller = _caller(request)
        user = USERS_BY_TOKEN.get(request.headers.get("X-Subject-Token", ""))
        if user is None:
            raise Refused(404, "Could not find the token.")
        if user != caller and not _is_admin(caller):
            raise Refused(403, "You are not authorized to see another user's token.")
        return self._token_response(request, user, ["password"], 200, scoped=True)

    def _token_response(
        self, request: Request, user: User, methods: list[str], status: int, *, scoped: bool
    ) -> Response:
        # An unscoped response has the static token too, which the auth filter and a later validation take for a token
        # scoped to the user's project: one token per user keeps the sample simple.
        token = tokens.document(user, methods, scoped=scoped)
        if scoped:
            token["catalog"] = self._catalog(request, user.project)
        return json_response({"token": token}, status, {"X-Subject-Token": user.token})

    def _catalog(self, request: Request, project: Project) -> list[dict[str, Any]]:
        return [
            _service("compute", "nova", request.host_url + self._compute),
            _service("cyclades_compute", "cyclades", request.host_url + self._cyclades),
            _service("volumev3", "cinderv3", f"{request.host_url}{self._volume}/{project.id}"),
            _service("identity", "keystone", request.application_url),
        ]


def _service(kind: str, name: str, url: str) -> dict[str, Any]:
    endpoint = {"id": f"{name}-public", "interface": "public", "region": REGION, "region_id": REGION, "url": url}
    return {"id": name, "type": kind, "name": name, "endpoints": [endpoint]}


def _authenticate(identity: Mapping[str, Any]) -> tuple[list[str], User]:
    """Return the methods that were used, and the authenticated user.

    :raises Refused: 400 or 401.
    """
    methods = identity.get("methods")
    if not isinstance(methods, list) or not methods or not all(isinstance(method, str) for method in methods):
        raise Refused(400, "methods must be a list of names.")
    if not set(methods) <= set(_METHODS):
        raise Refused(401, "Attempted to authenticate with an unsupported method.")
    users = [_METHODS[method](member(identity, method)) for method in methods]
    user = users[0]
    if user is None or any(other != user for other in users):
        raise Refused(401, _UNAUTHORIZED)
    return methods, user


def _by_password(data: Mapping[str, Any]) -> User | None:
    document = member(data, "user")
    user = _named(USERS, document, "user")
    return user if user and document.get("password") == user.password else None


def _by_token(data: Mapping[str, Any]) -> User | None:
    token = data.get("id")
    if not isinstance(token, str):
        raise Refused(400, "The token's id must be a string.")
    return USERS_BY_TOKEN.get(token)


_METHODS = {"password": _by_password, "token": _by_token}


def _is_scoped(scope: Any, user: User) -> bool:
    """Return whether a token is to be scoped to the user's project.

    :raises Refused: 400 or 401.
    """
    if scope == "unscoped":
        return False
    if scope is None:  # the user's project is the default
        return True
    if not isinstance(scope, dict) or len(scope) != 1:
        raise Refused(400, "scope must have one member.")
    if "unscoped" in scope:
        return False
    if "project" not in scope:
        raise Refused(401, "User has no access to a domain or to the system.")
    if _named(PROJECTS, member(scope, "project"), "project") != user.project:
        raise Refused(401, "User has no access to the project.")
    return True


def _named(items: Iterable[_Named], document: Mapping[str, Any], what: str) -> _Named | None:
    """Return the user or project with an id, or with a name and domain.

    :raises Refused: 400, if both are missing.
    """
    if "id" in document:
        return next((item for item in items if item.id == document["id"]), None)
    if "name" not in document:
        raise Refused(400, f"Expecting to find id or name in {what}.")
    domain = member(document, "domain")
    if not domain or any(DOMAIN.get(key) != value for key, value in domain.items()):
        return None
    return next((item for item in items if item.name == document["name"]), None)


def _caller(request: Request) -> User:
    user = USERS_BY_TOKEN.get(request.headers.get("X-Auth-Token", ""))
    if user is None:
        raise Refused(401, _UNAUTHORIZED)
    return user


def _is_admin(user: User) -> bool:
    return "admin" in user.roles


def _show_version(request: Request) -> Response:
    return json_response({"version": version_document(IDENTITY_API, request.application_url, microversions=False)})


def _list_own_projects(request: Request) -> Response:
    return _project_list(request, [_caller(request).project])


def _list_projects(request: Request) -> Response:
    caller = _caller(request)
    seen = PROJECTS if _is_admin(caller) else (caller.project,)
    name = request.GET.get("name")
    return _project_list(request, [project for project in seen if name in (None, project.name)])


def _project_list(request: Request, projects: list[Project]) -> Response:
    documents = [_project_document(request, project) for project in projects]
    links = {"self": request.url, "next": None, "previous": None}
    return json_response({"projects": documents, "links": links})


def _show_project(request: Request, project_id: str) -> Response:
    caller = _caller(request)
    for project in PROJECTS:
        if project.id == project_id and (_is_admin(caller) or project == caller.project):
            return json_response({"project": _project_document(request, project)})
    raise Refused(404, f"Could not find project: {project_id}.")


def _project_document(request: Request, project: Project) -> dict[str, Any]:
    return {
        "id": project.id,
        "name": project.name,
        "domain_id": DOMAIN["id"],
        "parent_id": DOMAIN["id"],
        "description": "",
        "enabled": True,
        "is_domain": False,
        "tags": [],
        "options": {},
        "links": {"self": f"{request.application_url}/projects/{project.id}"},
    }


def _show_user(request: Request, user_id: str) -> Response:
    return json_response({"user": _user_document(request, _visible_user(request, user_id))})


def _list_projects_of(request: Request, user_id: str) -> Response:
    return _project_list(request, [_visible_user(request, user_id).project])


def _visible_user(request: Request, user_id: str) -> User:
    caller = _caller(request)
    for user in USERS:
        if user.id == user_id and (_is_admin(caller) or user == caller):
            return user
    raise Refused(404, f"Could not find user: {user_id}.")


def _user_document(request: Request, user: User) -> dict[str, Any]:
    return {
        "id": user.id,
        "name": user.name,
        "domain_id": DOMAIN["id"],
        "default_project_id": user.project.id,
        "enabled": True,
        "password_expires_at": None,
        "options": {},
        "links": {"self": f"{request.application_url}/users/{user.id}"},
    }
