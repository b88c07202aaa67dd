"""The steps that every request to the resources goes through, in this order.

Check the HTTP method, the format of the response, the caller, the version of the API, the policy, the query's
parameters and the body; call the controller, respond. A step that raises ends the request in a fault. What is parsed
before the caller is authenticated has a limited length.
"""

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ..context import RequestContext
from ..errors import BackendError, Forbidden, Kind
from ..policy import Policy
from ..wsgi import WSGIApp
from . import bodies, faults, negotiation, queries
from .controller import Call, Controller
from .dialects import Dialect
from .endpoints import Endpoint
from .faults import Fault
from .identity import Callers
from .microversions import Negotiated, Versions
from .responses import make_response, query_of, request_id_of
from .routing import Match
from .serializers import JSON, Serializer

LOG = logging.getLogger(__name__)

# Longer ones are cut in messages and in the log.
_MAX_METHOD, _MAX_PATH = 50, 1024


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
        self._callers = Callers(policy)
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
            query, serializer, format_fault = _negotiate_format(environ, match)
            (dialect, endpoints, headers), version_fault = self._negotiate_version(environ)
            # A method that is not allowed takes precedence over both; all versions have the same methods.
            endpoint = _select(endpoints[match.resource], environ["REQUEST_METHOD"])
            if format_fault is not None:
                raise format_fault
            credentials, enforce = self._callers.of(environ)
            context = RequestContext(request_id, credentials, enforce, environ, match.project_id)
            if version_fault is not None:
                raise version_fault
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

    def _negotiate_version(self, environ: Mapping[str, Any]) -> tuple[Negotiated, Fault | None]:
        try:
            return self._versions.negotiate(environ), None
        except Fault as fault:
            return self._versions.default._replace(headers={}), fault

    def _read_members(self, environ: Mapping[str, Any], dialect: Dialect, endpoint: Endpoint) -> Mapping[str, Any]:
        if endpoint.members is None:
            return {}
        return bodies.read_members(bodies.read(environ, self._max_body), endpoint.members, dialect)


def _negotiate_format(
    environ: Mapping[str, Any], match: Match
) -> tuple[list[tuple[str, str]], Serializer, Fault | None]:
    """Return the parsed query, the format and, if either is not possible, the fault."""
    accept = environ.get("HTTP_ACCEPT")
    try:
        query = query_of(environ)
    except Fault as fault:
        return [], negotiation.choose([], match.suffix, accept), fault
    try:
        return query, negotiation.choose(query, match.suffix, accept), None
    except Fault as fault:
        return query, JSON, fault


def _select(endpoints: Mapping[str, Endpoint], method: str) -> Endpoint:
    endpoint = endpoints.get("GET" if method == "HEAD" else method)
    if endpoint is None:
        allow = ", ".join(endpoints).replace("GET", "GET, HEAD")
        raise Fault(
            Kind.BAD_METHOD, f"Method {method[:_MAX_METHOD]} is not allowed; use one of {allow}.", {"Allow": allow}
        )
    return endpoint


def _authorize(context: RequestContext, *endpoints: Endpoint | None) -> None:
    """Check that policy may allow one of some endpoints in the caller's own project.

    It is checked before any expensive step; the manager checks the server's project and user once they are known.
    """
    for endpoint in endpoints:
        if endpoint and context.may_be_able(endpoint.action):
            return
    context.log_denied(*[endpoint.action for endpoint in endpoints if endpoint])
    raise Forbidden


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
    method, path = environ["REQUEST_METHOD"][:_MAX_METHOD], environ["PATH_INFO"][:_MAX_PATH]
    request = request_id, method, path, status, fault.kind.value
    if fault.kind is Kind.INTERNAL:
        LOG.error("%s %r %r: %d: %s", *request, exc_info=error)
    elif fault.kind is Kind.UNAVAILABLE:  # the fault's message does not have the reason
        LOG.warning("%s %r %r: %d: %s: %s: %s", *request, type(error).__name__, error)
    elif isinstance(error.__cause__, BackendError):  # such as of a server that the compute API has
        LOG.info("%s %r %r: %d: %s: %r: backend: %s", *request, fault.message, error.__cause__)
    else:
        LOG.info("%s %r %r: %d: %s: %r", *request, fault.message)
