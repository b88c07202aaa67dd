"""Request bodies: read and parse them, and check their members."""

from collections.abc import Callable, Mapping
from typing import Any

from webob.exc import HTTPRequestEntityTooLarge

from ..errors import Kind
from ..models import Attachment, AttachRequest
from .dialects import Dialect
from .faults import BadRequest, Fault
from .serializers import DESERIALIZERS, Malformed

# Longer values are cut in messages.
_MAX_SHOWN = 50
_MAX_CONTENT_TYPE = 255  # characters
_ACCEPTED = f"must be one of {', '.join(DESERIALIZERS)}."


def read(environ: Mapping[str, Any], limit: int) -> Any:
    """Read and parse a request's body.

    :param environ: the WSGI environment.
    :param limit: the number of bytes that the body may have.
    :returns: nested dictionaries, lists and scalars.
    :raises BadRequest: if the body or a header that describes it is malformed, or Content-Type is missing.
    :raises Fault: of kind ``UNSUPPORTED_MEDIA_TYPE``, if there is no parser for Content-Type; of kind ``OVER_LIMIT``,
        if the body is too large; it is not parsed then.
    """
    content_type = (environ.get("CONTENT_TYPE") or "").strip()
    if not content_type:
        raise BadRequest(f"Content-Type is missing; it {_ACCEPTED}")
    media_type, _, parameters = content_type.partition(";")
    deserialize = DESERIALIZERS.get(media_type.strip().lower())
    if deserialize is None or len(content_type) > _MAX_CONTENT_TYPE:
        raise Fault(Kind.UNSUPPORTED_MEDIA_TYPE, f"Content-Type {_ACCEPTED}")
    _check_charset(parameters)
    try:
        return deserialize(_bytes(environ, limit))
    except Malformed as error:
        raise BadRequest(str(error)) from error


def read_members(document: Any, known: Mapping[str, Callable[[Any], Any]], dialect: Dialect) -> dict[str, Any]:
    """Return the members of ``volumeAttachment`` in a body.

    :param document: the parsed body.
    :param known: the members that there may be besides ``volumeId``, each with the function that reads its value.
    :param dialect: has the syntax of ``volumeId``, and whether unknown members are ignored.
    :returns: ``volumeId``, in canonical form, and those of the known members that the body has.
    :raises BadRequest: if a member is missing, malformed or unknown.
    """
    if not isinstance(document, dict):
        raise BadRequest(f"The body must be an object, not {_describe_type(document)}.")
    attachment = _member(document, "volumeAttachment")
    if not isinstance(attachment, dict):
        raise BadRequest(f"volumeAttachment must be an object, not {_describe_type(attachment)}.")
    if not dialect.ignores_unknown_members:
        _refuse_unknown(document, {"volumeAttachment"})
        _refuse_unknown(attachment, {"volumeId", *known})
    value = _member(attachment, "volumeId")
    volume_id = dialect.body_id(value)
    if volume_id is None:
        raise BadRequest(f"volumeId must be {dialect.id_syntax}, not {_describe_type(value)}.")
    given = {name: read_value(attachment[name]) for name, read_value in known.items() if name in attachment}
    return {"volumeId": volume_id, **given}


def attach_request(members: Mapping[str, Any]) -> AttachRequest:
    """Return what an attach requests.

    :param members: as ``read_members`` returned them.
    """
    return AttachRequest(
        volume_id=members["volumeId"],
        device=members.get("device"),
        tag=members.get("tag"),
        delete_on_termination=members.get("delete_on_termination", False),
    )


def check_unchanged(members: Mapping[str, Any], row: Attachment) -> None:
    """Check that an update does not change an immutable property.

    :param members: as ``read_members`` returned them.
    :param row: the attachment.
    :raises BadRequest: if a member differs from the row.
    """
    immutable = {"id": row.volume_id, "serverId": row.server_id, "device": row.device, "tag": row.tag}
    for name, value in immutable.items():
        if members.get(name, value) != value:
            raise BadRequest(f"The {name} property is not mutable.")


def _member(members: dict[str, Any], name: str) -> Any:
    if name not in members:
        raise BadRequest(f"The body must have the member {name}.")
    return members[name]


def _describe_type(value: Any) -> str:
    if value is None:
        return "null"
    if value == "":
        return "an empty string"
    if isinstance(value, str):
        return repr(value[:_MAX_SHOWN])
    if type(value) is int:  # a boolean is an int, too
        return f"the number {value}" if abs(value) < 10**_MAX_SHOWN else f"a number of more than {_MAX_SHOWN} digits"
    names = {bool: "a boolean", float: "a number with a fraction or an exponent", dict: "an object", list: "an array"}
    return names[type(value)]


def _refuse_unknown(members: dict[str, Any], known: set[str]) -> None:
    unknown = members.keys() - known
    if unknown:
        raise BadRequest(f"The body has the unknown member {min(unknown)!r}.")


def _check_charset(parameters: str) -> None:
    for parameter in parameters.split(";"):
        name, _, value = parameter.partition("=")
        charset = value.strip(" \t\"'")
        if name.strip().lower() == "charset" and charset.lower() not in ("utf-8", "utf8"):
            raise BadRequest(f"The body must be UTF-8, but its Content-Type has charset {charset[:_MAX_SHOWN]!r}.")


def _bytes(environ: Mapping[str, Any], limit: int) -> bytes:
    length = _length(environ)
    if length is not None and length > limit:
        raise _too_large(limit)
    # Without a length, one byte more than allowed shows whether the body is too large.
    body = _read(environ["wsgi.input"], limit + 1 if length is None else length)
    if length is None and len(body) > limit:
        raise _too_large(limit)
    if length is not None and len(body) < length:
        raise BadRequest(f"The body ended after {len(body)} of {length} bytes.")
    return body


def _length(environ: Mapping[str, Any]) -> int | None:
    """Return the body's length; None if it is chunked and the server ends ``wsgi.input`` where the body ends."""
    text = environ.get("CONTENT_LENGTH") or ""
    if not text:
        if environ.get("wsgi.input_terminated") and "chunked" in (environ.get("HTTP_TRANSFER_ENCODING") or "").lower():
            return None
        raise BadRequest("Content-Length is missing.")
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise BadRequest("Content-Length must be a number of bytes.")
    return int(text)


def _read(stream: Any, size: int) -> bytes:
    chunks = []
    try:
        while size > 0:
            chunk = stream.read(size)
            if not chunk:
                break
            chunks.append(chunk)
            size -= len(chunk)
    except HTTPRequestEntityTooLarge as error:  # raised by a filter that limits the size, such as oslo.middleware's
        raise Fault(Kind.OVER_LIMIT, "The body is larger than this server accepts.") from error
    except OSError as error:
        raise BadRequest("The body could not be read completely.") from error
    return b"".join(chunks)


def _too_large(limit: int) -> Fault:
    return Fault(Kind.OVER_LIMIT, f"The body must have at most {limit} bytes.")
