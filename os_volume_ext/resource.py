"""What every request of ours goes through, in this order.

Negotiate the format of the answer, see that the method is allowed, authenticate, authorize, read the body,
call the controller, and answer; or answer with the fault that one of these ended in.
"""

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from webob import Response

from . import bodies, faults, negotiation
from .answers import answer, query_of, request_id_of
from .context import RequestContext
from .controller import Call, Controller
from .dialects import Dialect
from .faults import Fault, Kind
from .identity import credentials
from .match import Match
from .observers.log import log_fault
from .policy import Policy
from .serializers import JSON, Serializer

LOG = logging.getLogger(__name__)


class Resource:
    """Answers the requests on our paths; a WSGI application but for the match it is given."""

    def __init__(self, controller: Controller, policy: Policy, dialect: Dialect, max_body: int) -> None:
        """Take the rooms below. :param max_body: bytes that a request's body may have."""
        self._controller = controller
        self._policy = policy
        self._dialect = dialect
        self._max_body = max_body

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any], match: Match) -> Iterable[bytes]:
        """Answer one request."""
        request_id = request_id_of(environ)
        serializer: Serializer = JSON
        context: RequestContext | None = None
        try:
            query = query_of(environ)
            serializer, complaint = _negotiate(environ, match, query)
            action = _action(environ, match)
            if complaint is not None:  # of the format asked for; a wrong method is told first
                raise complaint
            context = self._authenticate(environ, match, request_id)
            _authorize(context, action)
            body = bodies.read(environ, self._max_body) if environ["REQUEST_METHOD"] == "POST" else None
            call = Call(context, match.server_id, match.attachment_id, query, body, serializer)
            status, written = getattr(self._controller, action)(call)
            response = answer(status, written, serializer, request_id)
        except Exception as error:
            response = self._failure(error, serializer, request_id, environ, context)
        chunks: Iterable[bytes] = response(environ, start_response)
        return chunks

    def _authenticate(self, environ: dict[str, Any], match: Match, request_id: str) -> RequestContext:
        caller = self._policy.complete(credentials(environ))
        return RequestContext(
            request_id, caller["user_id"], caller["project_id"], caller, self._policy.allows, environ, match.project_id
        )

    def _failure(
        self,
        error: Exception,
        serializer: Serializer,
        request_id: str,
        environ: Mapping[str, Any],
        context: RequestContext | None,
    ) -> Response:
        fault = faults.from_exception(error)
        name, code = self._dialect.faults[fault.kind]
        if context is None or not context.logged:
            log_fault(LOG, error, "%s %r %r: %d", request_id, environ["REQUEST_METHOD"], environ["PATH_INFO"], code)
        body = serializer.fault(name, code, fault.message, "" if self._dialect.fault_details else None)
        return answer(code, body, serializer, request_id, fault.headers)


def _negotiate(
    environ: Mapping[str, Any], match: Match, query: list[tuple[str, str]]
) -> tuple[Serializer, Fault | None]:
    try:
        return negotiation.choose(query, match.ending, environ.get("HTTP_ACCEPT")), None
    except Fault as fault:
        return JSON, fault


def _action(environ: Mapping[str, Any], match: Match) -> str:
    action = match.action(environ["REQUEST_METHOD"])
    if action is None:
        raise Fault(Kind.BAD_METHOD, f"This resource takes {match.allow} only.", Allow=match.allow)
    return action


def _authorize(context: RequestContext, action: str) -> None:
    # By the caller's own project, before anything dear is done; by the server's, when it is known.
    if not context.can(action, context.project_id):
        raise Fault(Kind.FORBIDDEN, "Policy does not allow this operation.")
