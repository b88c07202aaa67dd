"""Hooks for Schemathesis: a reader of XML, and a filter of requests that OpenAPI can't describe."""

import re
from datetime import UTC, datetime
from typing import Any

import schemathesis

from tests.support import openapi

DOCUMENT = openapi.Document()
_VERSIONS = {
    parameter["name"].lower(): parameter["schema"]["pattern"]
    for parameter in DOCUMENT.tree["components"]["parameters"].values()
    if parameter["in"] == "header"
}


@schemathesis.deserializer("application/xml")
def read_xml(context: schemathesis.DeserializationContext, response: schemathesis.Response) -> Any:
    """Read a response as what its schema is about."""
    responses = DOCUMENT.tree["paths"][context.operation.path][context.operation.method.lower()]["responses"]
    content = DOCUMENT.resolve(responses[str(response.status_code)])["content"]
    return DOCUMENT.read(response.content, "application/xml", content["application/xml"]["schema"])


@schemathesis.hook
def filter_case(context: schemathesis.HookContext, case: schemathesis.Case) -> bool:
    """Leave out what is right or wrong for reasons that the document states only in prose."""
    query = case.query or {}
    formats = {str(query[name]) if name == "format" else name for name in ("json", "xml", "format") if name in query}
    return (
        len(formats) <= 1
        and not _is_odd(query.get("changes-since"))
        and all(_is_version(name, value) for name, value in (case.headers or {}).items())
        and not any(str(value).endswith("\n") for value in (case.path_parameters or {}).values())  # it is not ours
    )


def _is_version(name: str, value: Any) -> bool:
    """Say whether a header is no microversion, or one that the document has.

    A wrong one may be ignored, as one for another service or one beside the other header is.
    """
    pattern = _VERSIONS.get(name.lower())
    return pattern is None or re.fullmatch(pattern, str(value)) is not None


def _is_odd(since: Any) -> bool:
    """Say whether a time is one that is in the future, or that RFC 3339 has and Python has not."""
    try:
        return datetime.fromisoformat(since) > datetime.now(UTC)
    except (TypeError, ValueError):
        return isinstance(since, str) and since[:4].isdigit()
