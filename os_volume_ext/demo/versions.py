"""The lists of API versions, at ``/`` for the compute APIs and at ``/identity`` for the identity API."""

from collections.abc import Callable, Mapping
from typing import Any

from webob import Request, Response

from . import options
from .data import CYCLADES_API, IDENTITY_API, OPENSTACK_API
from .http import Application, Refused, Routes, fault_response, json_response, path_of, version_document

Document = dict[str, Any]


def app_factory(global_conf: Mapping[str, str], **local_conf: str) -> "VersionsApplication":
    """Make the application for PasteDeploy.

    With the option ``identity``, the path of the identity API, the list is like Keystone's. Otherwise it is like
    Nova's, for the APIs at ``compute`` (default ``/v2.1``) and ``cyclades`` (default ``/compute/v2.0``).

    :raises ConfigurationError: if an option is unknown or invalid, with the option's name.
    """
    if "identity" in local_conf:
        path = options.url_path(options.read(local_conf, identity=None), "identity")
        return VersionsApplication(lambda host: _identity(host + path), 300)
    given = options.read(local_conf, compute="/v2.1", cyclades="/compute/v2.0")
    compute, cyclades = options.url_path(given, "compute"), options.url_path(given, "cyclades")
    return VersionsApplication(lambda host: _compute(host + compute, host + cyclades), 200)


class VersionsApplication(Application):
    """A list of versions."""

    def __init__(self, document: Callable[[str], Document], status: int) -> None:
        """Make the application.

        :param document: makes the list, given the URL of the host.
        :param status: of the response.
        """
        self._document = document
        self._status = status
        self._routes = Routes({"": {"GET": self._list}})

    def respond(self, request: Request) -> Response:
        """Return the response.

        :raises Refused: for an error.
        """
        return self._routes.find(request.method, path_of(request))(request)

    def fault(self, refused: Refused) -> Response:
        """Return the response for an error."""
        return fault_response(refused)

    def _list(self, request: Request) -> Response:
        return json_response({"versions": self._document(request.host_url)}, self._status)


def _compute(compute_url: str, cyclades_url: str) -> Any:
    return [
        version_document(CYCLADES_API, cyclades_url, microversions=True),
        version_document(OPENSTACK_API, compute_url, microversions=True),
    ]


def _identity(url: str) -> Any:
    return {"values": [version_document(IDENTITY_API, url, microversions=False)]}
