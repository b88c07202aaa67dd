"""The body of a request: read it, parse it, and see what it asks for."""

from collections.abc import Mapping
from typing import Any

from webob.exc import HTTPRequestEntityTooLarge

from ..errors import Kind
from ..models import Attachment, AttachRequest
from .dialects import Dialect
from .faults import BadRequest, Fault
from .serializers import DESERIALIZERS, Malformed


def read(environ: Mapping[str, Any], limit: int) -> Any:
    """Read and parse a request's body.

    :param limit: bytes that it may have.
    :raises Fault: ``bad request``, or ``over limit``, in which case it was not read.
    """
    media_type, _, parameters = (environ.get("CONTENT_TYPE") or "").partition(";")
    deserialize = DESERIALIZERS.get(media_type.strip().lower())
    if deserialize is None:
        raise BadRequest(f"Content-Type must be one of {', '.join(DESERIALIZERS)}.")
    _check_charset(parameters)
    try:
        return deserialize(_bytes(environ, limit))
    except Malformed as error:
        raise BadRequest(str(error)) from error


def attach_request(document: Any, dialect: Dialect) -> AttachRequest:
    """Return what an attach request asks for. :raises BadRequest:"""
    return AttachRequest(**_read_members(document, dialect, "create"))


def update_request(document: Any, dialect: Dialect, action: str) -> tuple[str, dict[str, Any]]:
    """Return the id of the volume, and what is to be changed, that a request asks for.

    :param action: ``update`` or ``swap``.
    :raises BadRequest:
    """
    members = _read_members(document, dialect, action)
    return members.pop("volume_id"), members


def check_unchanged(members: Mapping[str, Any], row: Attachment) -> None:
    """Check that an update leaves the members alone that can't change.

    :raises BadRequest: if it gives one of them another value.
    """
    fixed = {"id": row.volume_id, "serverId": row.server_id, "device": row.device, "tag": row.tag}
    for name, value in fixed.items():
        if members.get(name, value) != value:
            raise BadRequest(f"The {name} property is not mutable.")


def _read_members(document: Any, dialect: Dialect, action: str) -> dict[str, Any]:
    if not isinstance(document, dict):
        raise BadRequest(f"The body is {_called(document)}: it must be an object.")
    attachment = _member(document, "volumeAttachment")
    if not isinstance(attachment, dict):
        raise BadRequest(f"volumeAttachment is {_called(attachment)}: it must be an object.")
    known = dialect.members[action]
    if not dialect.others_ignored:
        _refuse_unknown(document, {"volumeAttachment"})
        _refuse_unknown(attachment, {"volumeId", *known})
    value = _member(attachment, "volumeId")
    volume_id = dialect.body_id(value)
    if volume_id is None:
        raise BadRequest(f"volumeId is {_called(value)}: it must be {dialect.id_form}.")
    given = {name: read(attachment[name]) for name, read in known.items() if name in attachment}
    return {"volume_id": volume_id, **given}


def _member(members: dict[str, Any], name: str) -> Any:
    if name not in members:
        raise BadRequest(f"The body lacks the member {name}.")
    return members[name]


def _called(value: Any) -> str:
    if value is None:
        return "null"
    if value == "":
        return "empty"
    names = {bool: "a boolean", float: "a fraction", dict: "an object", list: "an array", int: "a number"}
    return names.get(type(value)) or f"{value[:50]!r}"


def _refuse_unknown(members: dict[str, Any], known: set[str]) -> None:
    unknown = members.keys() - known
    if unknown:
        raise BadRequest(f"The body has the unknown member {min(unknown)!r}.")


def _check_charset(parameters: str) -> None:
    for parameter in parameters.split(";"):
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "charset" and value.strip(" \t\"'").lower() not in ("utf-8", "utf8"):
            raise BadRequest("The body must be UTF-8: its Content-Type names another charset.")


def _bytes(environ: Mapping[str, Any], limit: int) -> bytes:
    length = _length(environ)
    if length is not None and length > limit:
        raise _too_large(limit)
    wanted = limit + 1 if length is None else length
    body = _read(environ["wsgi.input"], wanted)
    if length is None and len(body) > limit:
        raise _too_large(limit)
    if length is not None and len(body) < length:
        raise BadRequest(f"The body ended after {len(body)} of {length} bytes.")
    return body


def _length(environ: Mapping[str, Any]) -> int | None:
    """The body's length; None if it is chunked and the server tells us where it ends."""
    text = environ.get("CONTENT_LENGTH") or ""
    if not text:
        if environ.get("wsgi.input_terminated") and "chunked" in (environ.get("HTTP_TRANSFER_ENCODING") or "").lower():
            return None
        raise BadRequest("Content-Length is missing.")
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise BadRequest("Content-Length must be a number of bytes.")
    return int(text)


def _read(stream: Any, wanted: int) -> bytes:
    chunks = []
    try:
        while wanted > 0:
            chunk = stream.read(wanted)
            if not chunk:
                break
            chunks.append(chunk)
            wanted -= len(chunk)
    except HTTPRequestEntityTooLarge as error:  # from a filter that counts what is read, such as oslo.middleware's
        raise Fault(Kind.OVER_LIMIT, "The body is larger than this server takes.") from error
    except OSError as error:
        raise BadRequest("The body could not be read to its end.") from error
    return b"".join(chunks)


def _too_large(limit: int) -> Fault:
    return Fault(Kind.OVER_LIMIT, f"The body may have {limit} bytes at most.")
