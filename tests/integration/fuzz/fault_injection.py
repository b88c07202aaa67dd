"""A filter that injects faults into responses to DELETE: what fuzzing has to find."""

import json
import logging
from collections.abc import Callable, Mapping
from typing import Any

from webob import Request, Response
from webob.dec import wsgify

KEPT = []


def filter_factory(global_conf: Mapping[str, str], how: str) -> Callable[[Any], Any]:
    """Make the filter. :param how: ``fail``, ``add_member``, ``log`` or ``leak``."""

    @wsgify.middleware
    def inject(request: Request, app: Any) -> Response:
        response = request.get_response(app)
        if request.method == "DELETE":
            {"fail": fail, "add_member": add_member, "log": log, "leak": leak}[how](response)
        return response

    return inject


def fail(response: Response) -> None:
    """Raise an exception that nothing catches."""
    raise ZeroDivisionError


def add_member(response: Response) -> None:
    """Add a member that the API does not describe."""
    if response.status_int == 404 and response.content_type == "application/json":
        response.body = json.dumps({**response.json_body, "more": {}}).encode()


def log(response: Response) -> None:
    """Log an exception, and return the response."""
    try:
        fail(response)
    except ZeroDivisionError:
        logging.getLogger("os_volume_ext").exception("nobody sees it")


def leak(response: Response) -> None:
    """Keep memory."""
    KEPT.append(b"x" * 3_000_000)
