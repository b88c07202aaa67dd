"""The description of the API, ``docs/openapi.yaml``, to validate responses against."""

import functools
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import jsonschema_rs
import yaml
from lxml import etree

from tests.support.paths import DOCS

PATH = DOCS / "openapi.yaml"
METHODS = ("get", "head", "post", "put", "delete")
# Every response may have these; other tests check them where they matter.
OF_HTTP = {"content-length", "content-type", "connection", "date", "server", "via"}


def pointer(*keys: str) -> str:
    """Return the reference to a place in the document."""
    return "#/" + "/".join(key.replace("~", "~0").replace("/", "~1") for key in keys)


class Document:
    """The document, and the validation of responses."""

    def __init__(self) -> None:
        """Read it."""
        self.tree = yaml.safe_load(PATH.read_text())
        self._paths = [(_expression(template), template) for template in self.tree["paths"]]

    @property
    def operations(self) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
        """Each path's template, method and operation."""
        for template, item in self.tree["paths"].items():
            for method in METHODS:
                if method in item:
                    yield template, method, item[method]

    def statuses(self) -> set[tuple[str, int]]:
        """Return each operation's id with each status that it has."""
        return {
            (operation["operationId"], int(status))
            for *_, operation in self.operations
            for status in operation["responses"]
        }

    def template(self, path: str) -> str | None:
        """Return the template of a path (percent-decoded, without its query); None if it is not described."""
        path = re.sub(r"(/|\.json|\.xml)\Z", "", path)
        return next((template for expression, template in self._paths if expression.fullmatch(path)), None)

    def check(self, method: str, path: str, status: int, headers: Mapping[str, str], body: bytes) -> str | None:
        """Check that a response is one that the document describes.

        :returns: the operation's id; None for a method that the path does not have.
        :raises AssertionError: if it is not.
        """
        template = self.template(path)
        assert template, f"{path!r} is not described"
        operation = self.tree["paths"][template].get(method.lower())
        where = self._response(template, operation, status)
        response = self.resolve({"$ref": where})
        named = {name.lower(): value for name, value in headers.items()}
        assert len(named) == len(headers), f"a header comes twice: {headers}"
        self._check_headers(where, response, named)
        if operation is None and status == 405:
            methods = [each.upper() for each in METHODS if each in self.tree["paths"][template]]
            assert sorted(named["allow"].split(", ")) == sorted(methods)
        self._check_body(where, response, method, named, body)
        return operation and operation["operationId"]

    def _response(self, template: str, operation: Mapping[str, Any] | None, status: int) -> str:
        """Return where the response of a status is."""
        if operation is not None:
            assert str(status) in operation["responses"], f"{operation['operationId']} has no {status}"
            return operation["responses"][str(status)]["$ref"]
        # The method is looked at before all else.
        dialect = "Openstack" if template.startswith("/v2.1/") else "Cyclades"
        assert status == 405, f"{status} to a method that is not allowed"
        return pointer("components", "responses", f"{dialect}NotAllowed")

    def _check_headers(self, where: str, response: Mapping[str, Any], headers: Mapping[str, str]) -> None:
        described = {name.lower(): self.resolve(header) for name, header in response["headers"].items()}
        unknown = headers.keys() - described.keys() - OF_HTTP
        assert not unknown, f"{where} has no headers {unknown}"
        for name, header in described.items():
            if name in headers:
                self._validate(header["schema"], _scalar(headers[name], header["schema"]), f"{where}: {name}")
            else:
                assert not header.get("required"), f"{where}: {name} is missing"

    def _check_body(
        self, where: str, response: Mapping[str, Any], method: str, headers: Mapping[str, str], body: bytes
    ) -> None:
        content_type = headers.get("content-type")
        if "content" not in response:
            assert (content_type, body) == (None, b""), f"{where} has no body"
            return
        media_type, _, charset = (content_type or "").partition("; ")
        assert media_type in response["content"], f"{where} has no {media_type!r}"
        assert charset == "charset=UTF-8"
        if method == "HEAD":
            assert body == b""
            return
        schema = {"$ref": f"{where}{pointer('content', media_type, 'schema')[1:]}"}
        self._validate(schema, self.read(body, media_type, schema), f"{where}: {body!r}")

    def read(self, body: bytes, media_type: str, schema: Mapping[str, Any]) -> Any:
        """Read a body as what its schema is about."""
        if media_type == "application/json":
            return json.loads(body)
        root = etree.fromstring(body)
        assert root.tag == _tag(self.resolve(schema)), root.tag
        return self._read_element(root, self.resolve(schema))

    def _read_element(self, element: etree._Element, schema: Mapping[str, Any]) -> Any:
        if schema["type"] == "array":
            assert not element.attrib
            items = self.resolve(schema["items"])
            assert {child.tag for child in element} <= {_tag(items)}
            return [self._read_element(child, items) for child in element]
        if schema["type"] != "object":
            assert not element.attrib
            assert not len(element)
            return _scalar(element.text or "", schema)
        assert not (element.text or "").strip()
        members = {name: self.resolve(each) for name, each in schema["properties"].items()}
        attributes = {name for name, each in members.items() if each.get("xml", {}).get("attribute")}
        elements = {_tag(each, name): name for name, each in members.items() if name not in attributes}
        read = {name: _scalar(text, members[name]) if name in attributes else text for name, text in element.items()}
        for child in element:
            assert child.tag in elements, child.tag
            name = elements[child.tag]
            assert name not in read, f"{name} comes twice"
            read[name] = self._read_element(child, members[name])
        return read

    def _validate(self, schema: Mapping[str, Any], value: Any, what: str) -> None:
        try:
            self.validator(json.dumps(schema)).validate(value)
        except jsonschema_rs.ValidationError as error:
            raise AssertionError(f"{what}: {error}") from error

    @functools.cache  # noqa: B019 - there is one document
    def validator(self, schema: str) -> Any:
        # Within the document, so that references are found.
        return jsonschema_rs.Draft202012Validator({**self.tree, **json.loads(schema)}, validate_formats=True)

    def resolve(self, node: Mapping[str, Any]) -> dict[str, Any]:
        """Return a node with what it refers to; what stands beside the reference adds to it."""
        if "$ref" not in node:
            return dict(node)
        found = self.tree
        for key in node["$ref"].removeprefix("#/").split("/"):
            found = found[key.replace("~1", "/").replace("~0", "~")]
        return _merged(self.resolve(found), {key: value for key, value in node.items() if key != "$ref"})


def _expression(template: str) -> re.Pattern[str]:
    escaped = re.sub(r"\\{\w+\\}", "[^/]+", re.escape(template))
    return re.compile(escaped.replace("/servers/", "(?:/[^/]+)?/servers/"))


def _merged(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    both = {key for key in one.keys() & other.keys() if isinstance(one[key], dict)}
    return {**one, **other, **{key: _merged(one[key], other[key]) for key in both}}


def _tag(schema: Mapping[str, Any], name: str | None = None) -> str:
    xml = schema.get("xml", {})
    name = xml.get("name", name)
    return f"{{{xml['namespace']}}}{name}" if "namespace" in xml else name


def _scalar(text: str, schema: Mapping[str, Any]) -> Any:
    """Convert a string to the type in its schema; return it unchanged if it is not of that type."""
    if schema.get("type") == "integer" and re.fullmatch(r"-?[0-9]+", text, re.ASCII):
        return int(text)
    if schema.get("type") == "boolean":
        return {"true": True, "false": False}.get(text, text)
    return text
