"""The steps that every request to the resources goes through, in this order.

Negotiate the format of the response and the version of the API, select the endpoint by the HTTP method, authenticate,
authorize, check the query, read the body, call the controller, respond. A step that raises ends the request in a
fault.
"""

import logging
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

from ..context import RequestContext
from ..errors import Kind
from ..policy import Policy
from ..wsgi import WSGIApp
from . import bodies, faults, negotiation, queries
from .controller import Call, Controller
from .dialects import Dialect
from .endpoints import Endpoint
from .faults import Fault
from .identity import credentials
from .microversions import Versions
from .responses import make_response, query_of, request_id_of
from .routing import Match
from .serializers import JSON, Serializer

LOG = logging.getLogger(__name__)


class Resource:
    """Responds to requests; a WSGI application that takes the path's match as well."""

    def __init__(self, *, controller: Controller, policy: Policy, versions: Versions, max_body: int) -> None:
        """Keep what the steps use.

        :param controller: performs the operations.
        :param policy: decides who may perform them.
        :param versions: the dialect, with its microversions.
        :param max_body: the number of bytes in a request's body, at most.
        """
        self._controller = controller
        self._policy = policy
        self._versions = versions
        self._max_body = max_body

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any], match: Match) -> Iterable[bytes]:
        """Respond to one request."""
        request_id = request_id_of(environ)
        # Faults before the negotiation use these.
        serializer: Serializer = JSON
        dialect = self._versions.oldest
        headers: Mapping[str, str] = {}
        response: WSGIApp
        try:
            query = query_of(environ)
            serializer, format_fault = _negotiate_format(environ, match, query)
            dialect, endpoints, headers = self._versions.negotiate(environ)
            endpoint = _select(endpoints[match.resource], environ["REQUEST_METHOD"])
            if format_fault is not None:  # a method that is not allowed takes precedence
                raise format_fault
            context = self._authenticate(environ, match, request_id)
            _authorize(context, endpoint, endpoint.other_volume)
            if endpoint.params is not None:
                queries.check_known(query, endpoint.params)
            members = self._read_members(environ, dialect, endpoint)
            call = Call(context, dialect, match, query, members, serializer)
            status, body = _for_volume(endpoint, call).handler(self._controller, call)
            response = make_response(status, body, serializer, request_id, headers)
        except Exception as error:
            fault = faults.from_exception(error, dialect.messages)
            name, status = dialect.faults[fault.kind]
            _log(error, fault, request_id, environ, status)
            body = serializer.fault(name, status, fault.message, "" if dialect.fault_details else None)
            response = make_response(status, body, serializer, request_id, {**headers, **fault.headers})
        return response(environ, start_response)

    def _authenticate(self, environ: dict[str, Any], match: Match, request_id: str) -> RequestContext:
        caller = self._policy.with_is_admin(credentials(environ))
        return RequestContext(request_id, caller, partial(self._policy.allows, caller), environ, match.project_id)

    def _read_members(self, environ: Mapping[str, Any], dialect: Dialect, endpoint: Endpoint) -> Mapping[str, Any]:
        if endpoint.members is None:
            return {}
        return bodies.read_members(bodies.read(environ, self._max_body), endpoint.members, dialect)


def _negotiate_format(
    environ: Mapping[str, Any], match: Match, query: list[tuple[str, str]]
) -> tuple[Serializer, Fault | None]:
    try:
        return negotiation.choose(query, match.suffix, environ.get("HTTP_ACCEPT")), None
    except Fault as fault:
        return JSON, fault


def _select(endpoints: Mapping[str, Endpoint], method: str) -> Endpoint:
    endpoint = endpoints.get("GET" if method == "HEAD" else method)
    if endpoint is None:
        allow = ", ".join(endpoints).replace("GET", "GET, HEAD")
        raise Fault(Kind.BAD_METHOD, f"Method {method[:50]} is not allowed; use one of {allow}.", {"Allow": allow})
    return endpoint


def _authorize(context: RequestContext, *endpoints: Endpoint | None) -> None:
    """Check that policy allows one of some endpoints in the caller's own project.

    It is checked before any expensive step; the manager checks the server's project once it is known.
    """
    if not any(context.can(endpoint.action, context.project_id) for endpoint in endpoints if endpoint):
        raise Fault(Kind.FORBIDDEN, "Policy does not allow this operation.")


def _for_volume(endpoint: Endpoint, call: Call) -> Endpoint:
    """Return the endpoint for the volume that the body names."""
    if endpoint.other_volume is None:
        return endpoint
    # Both ids are read first: an invalid one is not found, whatever policy allows.
    _, volume_id = call.server_id, call.volume_id
    selected = endpoint if call.members["volumeId"] == volume_id else endpoint.other_volume
    _authorize(call.context, selected)
    return selected


def _log(error: Exception, fault: Fault, request_id: str, environ: Mapping[str, Any], status: int) -> None:
    request = request_id, environ["REQUEST_METHOD"], environ["PATH_INFO"], status, fault.kind.value
    if fault.kind is Kind.INTERNAL:
        LOG.error("%s %r %r: %d: %s", *request, exc_info=error)
    elif fault.kind is Kind.UNAVAILABLE:  # the fault's message does not have the reason
        LOG.warning("%s %r %r: %d: %s: %s: %s", *request, type(error).__name__, error)
    else:
        LOG.info("%s %r %r: %d: %s: %r", *request, fault.message)
