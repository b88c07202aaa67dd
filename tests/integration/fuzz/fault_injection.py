"""A filter that injects faults into responses to DELETE: what fuzzing has to find."""

import json
import logging
from collections.abc import Callable, Mapping
from typing import Any

from webob import Request, Response
from webob.dec import wsgify

KEPT = []


def filter_factory(global_conf: Mapping[str, str], how: str) -> Callable[[Any], Any]:
    """Make the filter. :param how: ``fail``, ``talk``, ``log`` or ``leak``."""

    @wsgify.middleware
    def inject(request: Request, app: Any) -> Response:
        response = request.get_response(app)
        if request.method == "DELETE":
            {"fail": fail, "talk": talk, "log": log, "leak": leak}[how](response)
        return response

    return inject


def fail(response: Response) -> None:
    """Raise what nobody catches."""
    raise ZeroDivisionError


def talk(response: Response) -> None:
    """Say more than the document has."""
    if response.status_int == 404 and response.content_type == "application/json":
        response.body = json.dumps({**response.json_body, "more": {}}).encode()


def log(response: Response) -> None:
    """Log an exception, and go on."""
    try:
        fail(response)
    except ZeroDivisionError:
        logging.getLogger("os_volume_ext").exception("nobody sees it")


def leak(response: Response) -> None:
    """Keep memory."""
    KEPT.append(b"x" * 1_000_000)
