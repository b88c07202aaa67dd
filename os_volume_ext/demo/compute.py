"""The demo compute API, like Cyclades or Nova 2.1: servers, flavors, extensions."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from webob import Request, Response

from ..errors import ConfigurationError
from . import microversions, options, views
from .callers import Caller, caller_of
from .data import CYCLADES_API, OPENSTACK_API, ApiVersion, Server
from .http import (
    FAULT_NAMES,
    Application,
    Refused,
    Routes,
    fault_response,
    json_object,
    json_response,
    member,
    path_of,
    version_document,
)
from .paging import page
from .seed import seed
from .servers import ServerStore


@dataclass(frozen=True)
class Dialect:
    """The differences between the two compute APIs."""

    name: str
    api: ApiVersion
    document_id: Callable[[str], int | str]
    fault_names: Mapping[int, str]
    fault_members: Mapping[str, str] = field(default_factory=dict)
    extensions: Sequence[Mapping[str, Any]] | None = None
    nova: bool = False
    """Whether it has what only Nova has: microversions, paging, hosts for administrators."""


DIALECTS = {
    "cyclades": Dialect("cyclades", CYCLADES_API, int, FAULT_NAMES | {405: "notAllowed"}, {"details": ""}),
    "openstack": Dialect("openstack", OPENSTACK_API, str, FAULT_NAMES, extensions=views.EXTENSIONS, nova=True),
}


def app_factory(global_conf: Mapping[str, str], **local_conf: str) -> "ComputeApplication":
    """Make the application for PasteDeploy.

    The options are ``dialect`` (``cyclades`` or ``openstack``), ``state`` (the absolute path of the file with the
    servers), and optionally ``directories`` (the absolute path of the directory that gets one for each server, for
    backends whose servers are directories) and ``seed`` (the section of the filter to which the sample's volumes are
    added at the first start).

    :raises ConfigurationError: if an option is unknown, missing or invalid, with the option's name.
    """
    given = options.read(local_conf, dialect=None, state=None, directories="", seed="")
    if given["dialect"] not in DIALECTS:
        raise ConfigurationError(f"dialect must be one of {', '.join(DIALECTS)}, not {given['dialect']!r}")
    state = options.absolute_path(given, "state")
    directories = options.absolute_path(given, "directories") if "directories" in given else None
    try:
        store = ServerStore(given["dialect"], state, directories)
    except OSError as error:
        raise ConfigurationError(f"state and directories must be writable: {error}") from error
    except (ValueError, LookupError, TypeError) as error:
        raise ConfigurationError(f"state is {str(state)!r}: it is not a file that this application wrote") from error
    if store.is_new():
        if "seed" in given:
            seed(global_conf, given["seed"])
        store.keep()
    return ComputeApplication(DIALECTS[given["dialect"]], store)


class ComputeApplication(Application):
    """The compute API of one dialect."""

    def __init__(self, dialect: Dialect, store: ServerStore) -> None:
        """Make the application.

        :param dialect: of the API.
        :param store: the servers.
        """
        self._dialect = dialect
        self._store = store
        self._views = views.Views(dialect.document_id, hosts=dialect.nova)
        self._routes = Routes(
            {
                "/servers": {"GET": self._list_servers, "POST": self._create_server},
                "/servers/detail": {"GET": self._list_servers_in_detail},
                "/servers/{server_id}": {"GET": self._show_server, "DELETE": self._delete_server},
                "/servers/{server_id}/ips": {"GET": self._show_addresses},
                "/flavors": {"GET": self._list_flavors},
                "/flavors/detail": {"GET": self._list_flavors_in_detail},
                "/flavors/{flavor_id}": {"GET": self._show_flavor},
                "/flavors/{flavor_id}/os-extra_specs": {"GET": self._show_extra_specs},
                **self._extension_routes(),
            }
        )
        self._root = Routes({"": {"GET": self._show_version}})

    def respond(self, request: Request) -> Response:
        """Return the response; only the version document needs no token.

        :raises Refused: for an error.
        """
        path = path_of(request)
        if not path:
            return self._root.find(request.method, path)(request)
        caller = caller_of(request)
        version = microversions.requested(request) if self._dialect.nova else None
        project, path = _split(path)
        handler = self._routes.find(request.method, path)
        if project is not None:
            caller.refuse_path_of(project)
        query = _Query(request, caller, f"/{project}" if project else "", version)
        response = handler(query)
        if version is not None:
            microversions.announce(response, version)
        return response

    def fault(self, refused: Refused) -> Response:
        """Return the response for an error."""
        return fault_response(refused, self._dialect.fault_names, self._dialect.fault_members)

    def _extension_routes(self) -> dict[str, dict[str, Callable[..., Response]]]:
        if self._dialect.extensions is None:
            return {}
        return {
            "/extensions": {"GET": self._list_extensions},
            "/extensions/{alias}": {"GET": self._show_extension},
        }

    def _show_version(self, request: Request) -> Response:
        document = version_document(self._dialect.api, request.application_url, microversions=True)
        return json_response({"version": document})

    def _list_servers(self, query: "_Query") -> Response:
        return self._page(query, lambda server: self._views.reference(query, "servers", server.id, server.name))

    def _list_servers_in_detail(self, query: "_Query") -> Response:
        return self._page(query, lambda server: self._views.server(query, server, listed=True))

    def _page(self, query: "_Query", view: Callable[[Server], dict[str, Any]]) -> Response:
        servers = self._selected(query)
        if not self._dialect.nova:
            return json_response({"servers": [view(server) for server in servers]})
        found, links = page(query.request, servers)
        document = {"servers": [view(server) for server in found]}
        return json_response({**document, "servers_links": links} if links else document)

    def _selected(self, query: "_Query") -> list[Server]:
        """Return the servers that a list is about.

        :raises Refused: 403, if the caller may not list those of all projects.
        """
        all_projects = query.get("all_tenants", "0").lower() in options.TRUE
        if all_projects and not query.caller.admin:
            raise Refused(403, "Only an administrator may list the servers of all projects.")
        project_id = query.get("project_id", "") if all_projects else query.caller.project_id
        return [
            server
            for server in self._store.servers()
            if project_id in ("", server.project_id)
            and query.get("name", "") in server.name
            and query.get("status", server.status).upper() == server.status
        ]

    def _create_server(self, query: "_Query") -> Response:
        _refuse_reader(query)
        name = member(json_object(query.request), "server").get("name")
        if not isinstance(name, str) or not 0 < len(name.strip()) <= 255:
            raise Refused(400, "name must be a string of 1 to 255 characters.")
        server = self._store.create(name.strip(), query.caller.project_id, query.caller.user_id)
        document = self._views.server(query, server)
        return json_response({"server": document}, 202, {"Location": document["links"][0]["href"]})

    def _show_server(self, query: "_Query", server_id: str) -> Response:
        return json_response({"server": self._views.server(query, self._visible(query, server_id))})

    def _show_addresses(self, query: "_Query", server_id: str) -> Response:
        self._visible(query, server_id)
        return json_response({"addresses": {}})

    def _delete_server(self, query: "_Query", server_id: str) -> Response:
        _refuse_reader(query)
        self._store.delete(self._visible(query, server_id).id)
        return Response(status=204, content_type=None)

    def _visible(self, query: "_Query", server_id: str) -> Server:
        """Return a server that the caller may see.

        :raises Refused: 404, if there is none.
        """
        for server in self._store.servers():
            if server.id == server_id and query.caller.sees(server.project_id):
                return server
        raise Refused(404, f"Server {server_id} could not be found.")

    def _list_flavors(self, query: "_Query") -> Response:
        return json_response({"flavors": [self._views.listed_flavor(query)]})

    def _list_flavors_in_detail(self, query: "_Query") -> Response:
        return json_response({"flavors": [self._views.flavor(query)]})

    def _show_flavor(self, query: "_Query", flavor_id: str) -> Response:
        _refuse_unknown_flavor(flavor_id)
        return json_response({"flavor": self._views.flavor(query)})

    def _show_extra_specs(self, query: "_Query", flavor_id: str) -> Response:
        _refuse_unknown_flavor(flavor_id)
        return json_response({"extra_specs": {}})

    def _list_extensions(self, query: "_Query") -> Response:
        return json_response({"extensions": self._dialect.extensions})

    def _show_extension(self, query: "_Query", alias: str) -> Response:
        for extension in self._dialect.extensions or ():
            if extension["alias"] == alias:
                return json_response({"extension": extension})
        raise Refused(404, f"Extension {alias} could not be found.")


@dataclass(frozen=True)
class _Query:
    """A request, with what has been read from it."""

    request: Request
    caller: Caller
    prefix: str
    version: microversions.Version | None

    @property
    def url(self) -> str:
        """The API's URL, with the project if the request's path has it."""
        return f"{self.request.application_url}{self.prefix}"

    @property
    def admin(self) -> bool:
        return self.caller.admin

    def get(self, name: str, default: str | None = None) -> Any:
        return self.request.GET.get(name, default)


def _split(path: str) -> tuple[str | None, str]:
    """Split the project, if there is one, from the rest of a path."""
    first, _, rest = path.removeprefix("/").partition("/")
    return (None, path) if first in ("servers", "flavors", "extensions") else (first, f"/{rest}")


def _refuse_reader(query: _Query) -> None:
    if not query.caller.roles & {"member", "admin"}:
        raise Refused(403, "Only a member of the project may make and delete servers.")


def _refuse_unknown_flavor(flavor_id: str) -> None:
    if flavor_id != views.FLAVOR_ID:
        raise Refused(404, f"Flavor {flavor_id} could not be found.")
