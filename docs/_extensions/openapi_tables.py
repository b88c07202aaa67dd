"""The directive ``openapi``: tables of one tag's operations in ``docs/openapi.yaml``."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

METHODS = ("get", "head", "post", "put", "delete")
ALWAYS = {"X-Openstack-Request-Id", "Cache-Control", "Vary", "OpenStack-API-Version", "X-OpenStack-Nova-API-Version"}
"""Headers of all or nearly all responses of a dialect."""

Tree = dict[str, Any]
Rows = Iterator[tuple[str, ...]]


class OpenAPI(SphinxDirective):
    """``.. openapi:: TAG``: the tag's operations, parameters, request bodies and responses."""

    has_content = False
    required_arguments = 1

    def run(self) -> list[Any]:
        """Return the tables."""
        path = Path(self.env.srcdir) / "openapi.yaml"
        self.env.note_dependency(str(path))
        description = Description(yaml.safe_load(path.read_text()), self.arguments[0])
        if not description.operations:
            raise self.error(f"openapi.yaml has no operation with the tag {self.arguments[0]}")
        return self.parse_text_to_nodes("\n".join(description.lines()))


class Description:
    """What the document says of one tag."""

    def __init__(self, tree: Tree, tag: str) -> None:
        """Collect the operations, each with its path, its method and all of its parameters."""
        self._tree = tree
        self.operations = [
            {**operation, "parameters": item.get("parameters", []) + operation.get("parameters", [])}
            | {"path": path, "method": method.upper()}
            for path, item in tree["paths"].items()
            for method, operation in item.items()
            if method in METHODS and tag in operation["tags"]
        ]

    def lines(self) -> Iterator[str]:
        """Yield the tables as reStructuredText."""
        yield from _table("Operations", ("Request", "Operation", "Status"), (50, 32, 18), self._operations())
        yield from _table("Parameters", ("Name", "In", "Description"), (34, 10, 56), self._parameters())
        yield from _table("Request bodies", ("Member", "Value", "Description"), (34, 32, 34), self._members())
        yield from _table("Responses", ("Status", "Response", "Members"), (10, 40, 50), self._bodies())
        yield from _table("Faults", ("Status", "Fault", "Meaning"), (10, 26, 64), self._faults())

    def _operations(self) -> Rows:
        methods = [(operation["method"], operation["path"]) for operation in self.operations]
        for operation in self.operations:
            method, path = operation["method"], operation["path"]
            if method == "HEAD":
                continue  # beside GET
            both = method == "GET" and ("HEAD", path) in methods
            statuses = ", ".join(status for status in operation["responses"] if status.startswith("2"))
            text = _sentences(operation["summary"], operation.get("description", ""))
            yield f"``{'GET, HEAD' if both else method} {path}``", text, statuses

    def _parameters(self) -> Rows:
        for each in self._unique(each for operation in self.operations for each in operation["parameters"]):
            value = self._value(each["schema"])
            text = _sentences(each.get("description", ""), "" if value == "string" else value)
            yield f"``{each['name']}``", each["in"], text

    def _members(self) -> Rows:
        for operation in self.operations:
            if "requestBody" not in operation:
                continue
            content = self._resolve(operation["requestBody"])["content"]
            schema = self._resolve(self._entity(content["application/json"]["schema"]))
            for name, value in schema["properties"].items():
                need = "required" if name in schema["required"] else ""
                text = _sentences(need, self._resolve(value).get("description", ""))
                yield f"{operation['method']} ``{name}``", self._value(value), text

    def _bodies(self) -> Rows:
        for status, response in self._responses():
            if self._fault(response):
                continue
            if "content" not in response:
                yield status, _sentences(response["description"]), ""
                continue
            entity = self._resolve(self._entity(response["content"]["application/json"]["schema"]))
            for variant in map(self._resolve, entity.get("oneOf") or entity.get("anyOf") or [entity]):
                item = self._resolve(variant.get("items", variant))
                text = _sentences(response["description"], item.get("description", ""))
                yield status, text, ", ".join(f"``{member}``" for member in item["properties"])

    def _faults(self) -> Rows:
        for status, response in self._responses():
            headers = [f"``{header}``" for header in response["headers"] if header not in ALWAYS]
            more = f"Header: {', '.join(headers)}" if headers else ""
            if fault := self._fault(response):
                yield status, f"``{fault}``", _sentences(response["description"], more)

    def _responses(self) -> Iterator[tuple[str, Tree]]:
        """Yield the status and the content of the responses of all operations, by status."""
        found = [pair for operation in self.operations for pair in operation["responses"].items()]
        for status in sorted({status for status, _ in found}):
            for response in self._unique(response for other, response in found if other == status):
                yield status, response

    def _unique(self, trees: Iterable[Tree]) -> Iterator[Tree]:
        """Yield each tree once, with references followed."""
        seen: list[Tree] = []
        for tree in map(self._resolve, trees):
            if tree not in seen:
                seen.append(tree)
                yield tree

    def _fault(self, response: Tree) -> str:
        """Return the fault's name, or an empty string if the response is none."""
        schema = self._resolve(response.get("content", {}).get("application/json", {}).get("schema", {}))
        name: str = schema.get("required", [""])[0]
        return "" if name.startswith("volumeAttachment") else name

    def _entity(self, schema: Tree) -> Tree:
        """Return the schema of the only member of a body."""
        [entity] = self._resolve(schema)["properties"].values()
        return dict(entity)

    def _value(self, schema: Tree) -> str:
        """Return which values a schema permits."""
        schema = self._resolve(schema)
        match schema:
            case {"title": str(title)}:
                return title
            case {"anyOf": choices}:
                return " or ".join(map(self._value, choices))
            case {"enum": values}:
                return " or ".join(f"``{value}``" for value in values)
            case {"type": list(types)}:
                return " or ".join(types)
        return str(schema["type"])

    def _resolve(self, tree: Tree) -> Tree:
        """Follow ``$ref``; what stands beside it is added."""
        if "$ref" not in tree:
            return tree
        found = self._tree
        for name in tree["$ref"].removeprefix("#/").split("/"):
            found = found[name]
        return self._resolve(found) | {name: value for name, value in tree.items() if name != "$ref"}


def _sentences(*texts: str) -> str:
    """Join texts; a single sentence has no full stop. Markdown's code becomes reStructuredText's."""
    parts = [" ".join(text.split()).rstrip(".").replace("``", "`").replace("`", "``") for text in texts]
    parts = [part[:1].upper() + part[1:] for part in parts if part]
    joined = ". ".join(parts)
    return f"{joined}." if ". " in joined else joined


def _table(title: str, head: tuple[str, ...], widths: tuple[int, ...], rows: Rows) -> Iterator[str]:
    yield from (f".. list-table:: {title}", "   :header-rows: 1", "   :class: openapi")
    yield from (f"   :widths: {' '.join(map(str, widths))}", "")
    for row in (head, *rows):
        for number, cell in enumerate(row):
            yield f"   {'  ' if number else '* '}- {cell}".rstrip()
    yield ""


def setup(app: Sphinx) -> dict[str, bool]:
    """Add the directive."""
    app.add_directive("openapi", OpenAPI)
    return {"parallel_read_safe": True}
