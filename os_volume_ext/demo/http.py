"""HTTP for the demo applications: routes, JSON bodies, and errors as responses."""

import abc
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from functools import partial
from typing import Any

from webob import Request, Response

from .data import ApiVersion

FAULT_NAMES = {
    400: "badRequest",
    401: "unauthorized",
    403: "forbidden",
    404: "itemNotFound",
    405: "badMethod",
}
"""The names of Nova's and Cinder's faults, by status."""

Handler = Callable[..., Response]
"""Takes the request, and the parts of the path by name."""


class Refused(Exception):
    """A request that gets an error as response."""

    def __init__(self, code: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        """Make the error.

        :param code: the HTTP status.
        :param message: for the fault.
        :param headers: of the response.
        """
        super().__init__(message)
        self.code = code
        self.message = message
        self.headers = dict(headers or {})


class Application(abc.ABC):
    """A WSGI application with JSON responses."""

    @abc.abstractmethod
    def respond(self, request: Request) -> Response:
        """Return the response.

        :raises Refused: for an error.
        """

    @abc.abstractmethod
    def fault(self, refused: Refused) -> Response:
        """Return the response for an error, in the format of this API."""

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        request = Request(environ)
        try:
            response = self.respond(request)
        except UnicodeDecodeError:
            response = self.fault(Refused(400, "The URL is not UTF-8."))
        except Refused as refused:
            response = self.fault(refused)
        chunks: Iterable[bytes] = response(environ, start_response)
        return chunks


class Routes:
    """The handlers by path and method; ``{name}`` in a path stands for one segment."""

    def __init__(self, table: Mapping[str, Mapping[str, Handler]]) -> None:
        """Compile the paths.

        :param table: by path, the handlers by method; that of GET also serves HEAD.
        """
        self._table = [(_pattern(path), _with_head(methods)) for path, methods in table.items()]

    def find(self, method: str, path: str) -> Handler:
        """Return the handler, with the parts of the path bound.

        :raises Refused: 404 or 405.
        """
        for pattern, methods in self._table:
            match = pattern.fullmatch(path)
            if match and method not in methods:
                raise Refused(405, f"{method} is not allowed here.", {"Allow": ", ".join(sorted(methods))})
            if match:
                return partial(methods[method], **match.groupdict())
        raise Refused(404, "The resource could not be found.")


def path_of(request: Request) -> str:
    """Return the path below the application, without a trailing slash; "" for the root."""
    # Not request.path_info, which fails on bytes that are not UTF-8: such a path is not found.
    path: str = request.environ.get("PATH_INFO", "")
    return path.rstrip("/")


def json_response(document: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return a response with a JSON body."""
    response = Response(json.dumps(document), status=status, content_type="application/json", charset="UTF-8")
    response.headers.update(headers or {})
    return response


def fault_response(
    refused: Refused, names: Mapping[int, str] = FAULT_NAMES, members: Mapping[str, str] | None = None
) -> Response:
    """Return a response with a fault in Nova's format.

    :param names: the faults' names by status.
    :param members: those besides code and message.
    """
    fault = {"code": refused.code, "message": refused.message, **(members or {})}
    return json_response({names.get(refused.code, "computeFault"): fault}, refused.code, refused.headers)


def json_object(request: Request) -> dict[str, Any]:
    """Return the JSON object in the request's body.

    :raises Refused: 400, if there is none.
    """
    try:
        document = json.loads(request.body)
    except (ValueError, RecursionError) as error:
        raise Refused(400, "The body is not JSON.") from error
    return member(document)


def member(document: Any, name: str | None = None) -> dict[str, Any]:
    """Return a member of a JSON object, or without a name the object itself.

    :raises Refused: 400, if it is missing or not an object.
    """
    value = document if name is None else document.get(name)
    if not isinstance(value, dict):
        raise Refused(400, f"{name or 'The body'} must be a JSON object.")
    return value


def version_document(api: ApiVersion, url: str, *, microversions: bool) -> dict[str, Any]:
    """Return the version document of an API.

    :param microversions: whether documents of this kind of API have the microversions.
    """
    document = asdict(api)
    media_type = document.pop("media_type")
    if not microversions:
        del document["version"], document["min_version"]
    return {
        **document,
        "links": [{"rel": "self", "href": f"{url}/"}],
        "media-types": [{"base": "application/json", "type": media_type}],
    }


def _pattern(path: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", path))


def _with_head(methods: Mapping[str, Handler]) -> dict[str, Handler]:
    return {**methods, "HEAD": methods["GET"]} if "GET" in methods else dict(methods)
