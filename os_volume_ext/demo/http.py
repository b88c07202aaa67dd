"""What the demo applications share: routes, JSON in and out, and errors that become answers."""

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
"""What Nova and Cinder call an error, by its status."""

Handler = Callable[..., Response]
"""Takes the request, and by name what the path holds."""


class Refused(Exception):
    """A request that gets an error for an answer."""

    def __init__(self, code: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        """:param code: the HTTP status. :param message: for people. :param headers: of the answer."""
        super().__init__(message)
        self.code = code
        self.message = message
        self.headers = dict(headers or {})


class Application(abc.ABC):
    """A WSGI application that answers in JSON."""

    @abc.abstractmethod
    def respond(self, request: Request) -> Response:
        """Answer a request. :raises Refused: for an error."""

    @abc.abstractmethod
    def fault(self, refused: Refused) -> Response:
        """Answer with an error, in the words of this API."""

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        request = Request(environ)
        try:
            response = self.respond(request)
        except UnicodeDecodeError:
            response = self.fault(Refused(400, "The URL is not UTF-8."))
        except Refused as refused:
            response = self.fault(refused)
        answer: Iterable[bytes] = response(environ, start_response)
        return answer


class Routes:
    """Which handler answers which path and method; ``{name}`` in a path stands for one segment."""

    def __init__(self, table: Mapping[str, Mapping[str, Handler]]) -> None:
        """:param table: by path, the handlers by method; HEAD is answered where GET is."""
        self._table = [(_pattern(path), _with_head(methods)) for path, methods in table.items()]

    def find(self, method: str, path: str) -> Handler:
        """Return the handler, which knows what the path holds. :raises Refused: 404 or 405."""
        for pattern, methods in self._table:
            match = pattern.fullmatch(path)
            if match and method not in methods:
                raise Refused(405, f"{method} is not allowed here.", {"Allow": ", ".join(sorted(methods))})
            if match:
                return partial(methods[method], **match.groupdict())
        raise Refused(404, "The resource could not be found.")


def path_of(request: Request) -> str:
    """Return the path below the application, without a slash at its end; "" for the root."""
    # Not request.path_info, which fails on bytes that are not UTF-8: such a path is just not found.
    path: str = request.environ.get("PATH_INFO", "")
    return path.rstrip("/")


def json_response(document: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return an answer with a JSON body."""
    response = Response(json.dumps(document), status=status, content_type="application/json", charset="UTF-8")
    response.headers.update(headers or {})
    return response


def fault_response(
    refused: Refused, names: Mapping[int, str] = FAULT_NAMES, members: Mapping[str, str] | None = None
) -> Response:
    """Return an answer with a fault in Nova's form. :param members: what it has besides code and message."""
    fault = {"code": refused.code, "message": refused.message, **(members or {})}
    return json_response({names.get(refused.code, "computeFault"): fault}, refused.code, refused.headers)


def json_object(request: Request) -> dict[str, Any]:
    """Return the JSON object in the request's body. :raises Refused: 400, if there is none."""
    try:
        document = json.loads(request.body)
    except (ValueError, RecursionError) as error:
        raise Refused(400, "The body is not JSON.") from error
    return member(document)


def member(document: Any, name: str | None = None) -> dict[str, Any]:
    """Return a member of a JSON object, or the document itself, which must be an object.

    :raises Refused: 400, if it is missing or something else.
    """
    value = document if name is None else document.get(name)
    if not isinstance(value, dict):
        raise Refused(400, f"{name or 'The body'} must be a JSON object.")
    return value


def version_document(api: ApiVersion, url: str, *, microversions: bool) -> dict[str, Any]:
    """Return what an API says of itself; ``microversions``: whether its kind of API tells of them."""
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
