"""What every request of ours goes through, in this order.

Negotiate the format of the answer and the version of the dialect, see that the method is allowed, authenticate,
authorize, read the query and the body, call the controller, and answer; or answer with the fault that one of these
ended in.
"""

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from webob import Response

from ..context import RequestContext
from ..errors import Kind
from ..policy import Policy
from . import bodies, faults, negotiation, queries
from .controller import Call, Controller, authorize
from .faults import Fault
from .identity import credentials
from .microversions import Negotiated, Versions
from .responses import make_response, query_of, request_id_of
from .routing import Match
from .serializers import JSON, Serializer

LOG = logging.getLogger(__name__)

# Where it takes the body to know which rule it is, one of these has to hold before that is read.
_RULES = {"update": ("update", "swap")}


class Resource:
    """Answers the requests on our paths; a WSGI application but for the match it is given."""

    def __init__(self, *, controller: Controller, policy: Policy, versions: Versions, max_body: int) -> None:
        """Take the rooms below. :param max_body: bytes that a request's body may have."""
        self._controller = controller
        self._policy = policy
        self._versions = versions
        self._max_body = max_body

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any], match: Match) -> Iterable[bytes]:
        """Answer one request."""
        request_id = request_id_of(environ)
        serializer: Serializer = JSON
        spoken = Negotiated(self._versions.oldest)
        try:
            query = query_of(environ)
            serializer, complaint = _negotiate(environ, match, query)
            spoken = self._versions.spoken(environ)
            action = _action(environ, spoken.dialect.actions[match.resource])
            if complaint is not None:  # of the format asked for; a wrong method is told first
                raise complaint
            context = self._authenticate(environ, match, request_id)
            authorize(context, *_RULES.get(action, (action,)))
            if action in spoken.dialect.queries:
                queries.refuse_unknown(query, spoken.dialect.queries[action])
            body = bodies.read(environ, self._max_body) if action in spoken.dialect.members else None
            call = Call(context, spoken.dialect, match.server_id, match.volume_id, query, body, serializer)
            status, written = getattr(self._controller, action)(call)
            response = make_response(status, written, serializer, request_id, spoken.headers)
        except Exception as error:
            response = _failure(error, spoken, serializer, request_id, environ)
        chunks: Iterable[bytes] = response(environ, start_response)
        return chunks

    def _authenticate(self, environ: dict[str, Any], match: Match, request_id: str) -> RequestContext:
        caller = self._policy.complete(credentials(environ))
        return RequestContext(
            request_id, caller["user_id"], caller["project_id"], caller, self._policy.allows, environ, match.project_id
        )


def _failure(
    error: Exception,
    spoken: Negotiated,
    serializer: Serializer,
    request_id: str,
    environ: Mapping[str, Any],
) -> Response:
    fault = faults.from_exception(error)
    name, code = spoken.dialect.faults[fault.kind]
    _log(error, fault, "%s %r %r: %d", request_id, environ["REQUEST_METHOD"], environ["PATH_INFO"], code)
    body = serializer.fault(name, code, fault.message, "" if spoken.dialect.fault_details else None)
    return make_response(code, body, serializer, request_id, (*spoken.headers, *fault.headers.items()))


def _log(error: BaseException, fault: Fault, format: str, *arguments: object) -> None:
    kind = fault.kind.value
    if fault.kind is Kind.INTERNAL:
        LOG.error(f"{format}: %s", *arguments, kind, exc_info=error)
    elif fault.kind is Kind.UNAVAILABLE:  # the caller's message does not have the reason
        LOG.warning(f"{format}: %s: %s: %s", *arguments, kind, type(error).__name__, error)
    else:
        LOG.info(f"{format}: %s: %r", *arguments, kind, fault.message)


def _negotiate(
    environ: Mapping[str, Any], match: Match, query: list[tuple[str, str]]
) -> tuple[Serializer, Fault | None]:
    try:
        return negotiation.choose(query, match.ending, environ.get("HTTP_ACCEPT")), None
    except Fault as fault:
        return JSON, fault


def _action(environ: Mapping[str, Any], actions: Mapping[str, str]) -> str:
    action = actions.get(environ["REQUEST_METHOD"])
    if action is None:
        allow = ", ".join(actions)
        raise Fault(Kind.BAD_METHOD, f"This resource takes {allow} only.", {"Allow": allow})
    return action
