"""JSON and XML: serializers for responses and deserializers for requests, by media type.

Both deserializers return nested dictionaries, lists and scalars. XML is parsed without entities, DTD, network access
and huge trees.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from lxml import etree

NAMESPACE = "http://docs.openstack.org/compute/api/v1.1"
_NSMAP: Any = {None: NAMESPACE}


class Malformed(ValueError):
    """The bytes are not in the declared format; the message is one sentence with the reason."""


class Serializer(Protocol):
    """Writes one format. All bytes are UTF-8."""

    content_type: str

    def attachment(self, shown: Mapping[str, Any]) -> bytes:
        """Write one attachment."""

    def attachments(self, shown: Iterable[Mapping[str, Any]]) -> bytes:
        """Write a list of attachments."""

    def extension(self, shown: Mapping[str, Any]) -> bytes:
        """Write one extension."""

    def extensions(self, shown: Iterable[Mapping[str, Any]]) -> bytes:
        """Write a list of extensions."""

    def fault(self, name: str, code: int, message: str, details: str | None) -> bytes:
        """Write a fault; ``details`` are left out if None."""


class JSONSerializer:
    """Writes JSON."""

    content_type = "application/json; charset=UTF-8"

    def attachment(self, shown: Mapping[str, Any]) -> bytes:
        """Write ``{"volumeAttachment": {...}}``.

        For one object of few members, the encoder would take half as long again: it prepares itself for each document.
        """
        members = [f"{_quote(name)}: {_SCALARS.get(type(value), _encode)(value)}" for name, value in shown.items()]
        return f'{{"volumeAttachment": {{{", ".join(members)}}}}}'.encode("ascii")

    def attachments(self, shown: Iterable[Mapping[str, Any]]) -> bytes:
        """Write ``{"volumeAttachments": [...]}``."""
        return _json({"volumeAttachments": list(shown)})

    def extension(self, shown: Mapping[str, Any]) -> bytes:
        """Write ``{"extension": {...}}``."""
        return _json({"extension": shown})

    def extensions(self, shown: Iterable[Mapping[str, Any]]) -> bytes:
        """Write ``{"extensions": [...]}``."""
        return _json({"extensions": list(shown)})

    def fault(self, name: str, code: int, message: str, details: str | None) -> bytes:
        """Write ``{"badRequest": {"code": 400, "message": "...", "details": ""}}``."""
        fault = {"code": code, "message": message}
        return _json({name: fault if details is None else {**fault, "details": details}})


class XMLSerializer:
    """Writes XML."""

    content_type = "application/xml; charset=UTF-8"

    def attachment(self, shown: Mapping[str, Any]) -> bytes:
        """Write ``<volumeAttachment device="" serverId="1134" id="9" volumeId="9"/>``."""
        return _xml(etree.Element("volumeAttachment", _to_attributes(shown)))

    def attachments(self, shown: Iterable[Mapping[str, Any]]) -> bytes:
        """Write ``<volumeAttachments>`` with a ``<volumeAttachment>`` for each."""
        root = etree.Element("volumeAttachments")
        for each in shown:
            etree.SubElement(root, "volumeAttachment", _to_attributes(each))
        return _xml(root)

    def extension(self, shown: Mapping[str, Any]) -> bytes:
        """Write ``<extension>``, as Nova did."""
        return _xml(_extension(shown))

    def extensions(self, shown: Iterable[Mapping[str, Any]]) -> bytes:
        """Write ``<extensions>`` with an ``<extension>`` for each."""
        root = etree.Element(f"{{{NAMESPACE}}}extensions", nsmap=_NSMAP)
        root.extend(_extension(each) for each in shown)
        return _xml(root)

    def fault(self, name: str, code: int, message: str, details: str | None) -> bytes:
        """Write ``<badRequest code="400"><message>...</message><details/></badRequest>``, in the API's namespace."""
        root = etree.Element(f"{{{NAMESPACE}}}{name}", {"code": str(code)}, nsmap=_NSMAP)
        etree.SubElement(root, f"{{{NAMESPACE}}}message").text = message
        if details is not None:
            etree.SubElement(root, f"{{{NAMESPACE}}}details").text = details or None
        return _xml(root)


_quote = json.encoder.encode_basestring_ascii
_SCALARS: Mapping[type, Callable[[Any], str]] = {
    str: _quote,
    int: str,
    bool: lambda value: "true" if value else "false",
    type(None): lambda value: "null",
}
"""How the values that an attachment has are written."""
# Without the search for circles, which takes an eighth of the time; there are none.
_encode = json.JSONEncoder(check_circular=False).encode


def _json(document: Any) -> bytes:
    return _encode(document).encode("ascii")


def _xml(root: etree._Element) -> bytes:
    return etree.tostring(root, encoding="UTF-8", xml_declaration=True)


def _to_attributes(shown: Mapping[str, Any]) -> dict[str, str]:
    # XML Schema spells booleans in lowercase; null has no spelling and is left out.
    return {
        name: "true" if value is True else "false" if value is False else str(value)
        for name, value in shown.items()
        if value is not None
    }


def _extension(shown: Mapping[str, Any]) -> etree._Element:
    names = ("name", "namespace", "alias", "updated")
    element = etree.Element(f"{{{NAMESPACE}}}extension", {name: shown[name] for name in names}, nsmap=_NSMAP)
    etree.SubElement(element, f"{{{NAMESPACE}}}description").text = shown["description"]
    return element


# -- deserializers ------------------------------------------------------------------------------------


def read_json(body: bytes) -> Any:
    """Parse JSON; duplicate members, ``NaN`` and ``Infinity`` are malformed.

    :param body: the bytes.
    :raises Malformed: if they are not JSON.
    """
    text = _decode(body)
    try:
        return _DECODER.decode(text)
    except json.JSONDecodeError as error:
        raise Malformed(_json_reason(text, error)) from error
    except RecursionError as error:
        raise Malformed("The body's JSON is nested too deeply.") from error
    except Malformed:
        raise
    except ValueError as error:  # an integer with more digits than Python parses
        raise Malformed("The body's JSON has a number that is too long.") from error


def read_xml(body: bytes) -> Any:
    """Parse an XML element with attributes into ``{name: {attribute: value}}``.

    :param body: the bytes.
    :raises Malformed: if they are not XML, or more than one element.
    """
    text = _decode(body)
    declared = _DECLARED.match(text)
    if declared and declared[1].upper() != "UTF-8":
        raise Malformed(f"The body must be UTF-8, but its XML declares encoding {declared[1][:50]!r}.")
    # Also refused in a comment: a search can't be circumvented.
    if "<!DOCTYPE" in text:
        raise Malformed("The body's XML must not have a DOCTYPE.")
    try:
        root = etree.fromstring(text.encode(), _PARSER)
    except etree.XMLSyntaxError as error:
        line, column = error.position
        raise Malformed(f"The body is not XML: line {line}, column {column}.") from error
    if len(root.attrib) > MAX_ATTRIBUTES:
        raise Malformed(f"The body's XML has more than {MAX_ATTRIBUTES} attributes.")
    if root.find("*") is not None:
        raise Malformed("The body's XML must have its members as attributes of one element.")
    name = etree.QName(root)
    if name.namespace not in (None, NAMESPACE):
        raise Malformed(f"The body's XML must be in the namespace {NAMESPACE}, or in none.")
    return {name.localname: dict(root.attrib)}


# The encoding overrides the declared one, which was checked before.
_PARSER = etree.XMLParser(
    encoding="utf-8",
    resolve_entities=False,
    no_network=True,
    load_dtd=False,
    huge_tree=False,
    remove_comments=True,
    remove_pis=True,
)
MAX_ATTRIBUTES = 100
"""Far more than an attachment has; lxml takes quadratic time to read attributes."""

_DECLARED = re.compile(r"""<\?xml[^>]*\sencoding\s*=\s*["']([^"']*)["']""")


def _decode(body: bytes) -> str:
    try:
        return body.decode().removeprefix("\ufeff")  # the codec utf-8-sig, in Python, takes twice as long
    except UnicodeDecodeError as error:
        raise Malformed(f"The body must be UTF-8, but byte {error.start + 1} is not.") from error


def _refuse_constant(name: str) -> Any:
    raise Malformed(f"The body's JSON has {name}, which is not a JSON value.")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise Malformed("The body's JSON has a member of an object twice.")
    return members


# Shared: json.loads with these arguments would construct a decoder for each body.
_DECODER = json.JSONDecoder(parse_constant=_refuse_constant, object_pairs_hook=_unique)


def _json_reason(text: str, error: json.JSONDecodeError) -> str:
    # Depending on its version, Python reports the position of the comma or the one after it.
    before, after = text[: error.pos].rstrip(), text[error.pos :].lstrip()
    if after.startswith(","):
        before, after = before + ",", after[1:].lstrip()
    where = f"line {error.lineno}, column {error.colno}"
    if before.endswith(",") and after[:1] in ("}", "]"):
        return f"The body is not JSON: {where}: a trailing comma before {after[0]!r}."
    return f"The body is not JSON: {where}."


JSON, XML = JSONSerializer(), XMLSerializer()

SERIALIZERS: Mapping[str, Serializer] = {
    "application/json": JSON,
    "application/vnd.openstack.compute+json": JSON,
    "application/xml": XML,
    "application/vnd.openstack.compute+xml": XML,
}
DESERIALIZERS = {
    "application/json": read_json,
    "application/vnd.openstack.compute+json": read_json,
    "application/xml": read_xml,
    "application/vnd.openstack.compute+xml": read_xml,
}
