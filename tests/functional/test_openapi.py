"""``docs/openapi.yaml``: it is valid, and the responses are those that it has."""

import json
from urllib.parse import unquote

import jsonschema_rs
import pytest
import schemathesis
from sqlalchemy import update

from os_volume_ext.api import resource
from os_volume_ext.api.dialects import LAST
from os_volume_ext.api.microversions import CHANGES
from os_volume_ext.demo.compute import ComputeApplication
from os_volume_ext.registry.tables import attachments
from tests.support import openapi

DOCUMENT = openapi.Document()
ACTIONS = ("index", "show", "create", "update", "swap", "delete")
REFUSE_ALL = json.dumps({f"os_compute_api:os-volumes-attachments:{action}": "!" for action in ACTIONS})
VERSIONS = {"cyclades": (None,), "openstack": (None, "2.104")}


@pytest.fixture
def seen():
    """Give the operations' ids, each with a status that it returned."""
    return set()


@pytest.fixture
def client_of(client_of, seen):
    """Like the fixture of the directory, and each response is validated against the document."""

    def make(app):
        client = client_of(app)
        do_request = app.do_request

        def checked(request, **more):
            response = do_request(request, **more)
            path = unquote(request.path, errors="backslashreplace")
            operation = DOCUMENT.check(request.method, path, response.status_int, response.headers, response.body)
            seen.add((operation, response.status_int))
            return response

        app.do_request = checked
        return client

    return make


def schemas(node):
    """Yield what the document has for schemas, wherever they are."""
    if isinstance(node, dict):
        yield from node.get("schemas", {}).values()
        for name, child in node.items():
            if name == "schema":
                yield child
            yield from schemas(child)
    elif isinstance(node, list):
        for child in node:
            yield from schemas(child)


class TestTheDocument:
    def test_is_openapi(self):
        schemathesis.openapi.from_dict(DOCUMENT.tree).validate()
        found = list(schemas(DOCUMENT.tree))
        assert len(found) > 10
        for schema in found:
            assert jsonschema_rs.meta.is_valid(schema), schema

    def test_refers_to_all_that_it_has_and_to_nothing_else(self):
        components = {
            openapi.pointer("components", kind, name)
            for kind, named in DOCUMENT.tree["components"].items()
            for name in named
            if kind != "securitySchemes"
        }
        # The description names these two.
        unreferenced = {
            openapi.pointer("components", "responses", f"{each}NotAllowed") for each in ("Cyclades", "Openstack")
        }
        assert set(references(DOCUMENT.tree)) == components - unreferenced

    def test_has_the_newest_microversion(self):
        assert f"2.{LAST}" in DOCUMENT.tree["tags"][1]["description"]
        for name in ("Version", "LegacyVersion"):
            validator = jsonschema_rs.Draft202012Validator(DOCUMENT.tree["components"]["parameters"][name]["schema"])
            prefix = "compute " if name == "Version" else ""
            taken = [minor for minor in range(LAST + 100) if validator.is_valid(f"{prefix}2.{minor}")]
            assert taken == list(range(1, LAST + 1))


def references(node):
    """Yield each reference in the document."""
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for child in node.values():
            yield from references(child)
    elif isinstance(node, list):
        for child in node:
            yield from references(child)


class Requests:
    """One request of each operation."""

    def __init__(self, client):
        """:param client: who sends them."""
        self.client = client
        dialect = client.dialect
        self.attach = client.format.request(dialect.number(dialect.volume))
        self.server = dialect.server

    def each(self, query="", server=None, body=None, **headers):
        """Send one of each; a list, and the root volume where there is to be one."""
        client, dialect = self.client, self.client.dialect
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        collection = client.path(server or self.server)
        member = client.path(server or self.server, dialect.volume)
        for method in ("GET", "HEAD"):
            for path in (collection, member):
                client.request(method, path + query, headers=named)
        client.request("POST", collection + query, body or self.attach, named)
        if dialect.name == "openstack":
            client.request("PUT", member + query, body or self.attach, named)
        client.request("DELETE", member + query, headers=named)


@pytest.mark.only_on("sqlite")
def test_each_status_that_it_has_is_returned(
    dialect, format, start, paste_file, client_of, seen, tables, tmp_path, monkeypatch
):
    app = start()
    for version in VERSIONS[dialect.name]:
        client = client_of(app).at(version)
        requests = Requests(client)
        # 200, 202; and conflicts.
        client.attach()
        client.attach()
        client.put()
        client.by("admin").put()
        client.attach(dialect.building, dialect.other_volume)
        for method in ("GET", "HEAD"):
            client.request(method, client.path())
            client.request(method, client.path(volume=dialect.volume))
        with tables() as connection:
            connection.execute(update(attachments).where(~attachments.c.root).values(state="detaching"))
        client.detach()
        with tables() as connection:
            connection.execute(update(attachments).where(~attachments.c.root).values(state="attached"))
        client.detach()
        # 400, 404, 406, 413, 415, 401, 403
        requests.each("?json&xml")
        requests.each(server=dialect.unknown_server)
        requests.each(**{"OpenStack-API-Version": "compute 2.105"})
        requests.each(body=b" " * 65537)
        requests.each(**{"Content-Type": "text/plain"})
        Requests(client.by(None)).each()
        for method in ("PATCH", "OPTIONS", "TRACE", "PUT", "DELETE"):
            client.request(method, client.path())
    (tmp_path / "policy.yaml").write_text(REFUSE_ALL)
    Requests(client_of(start(paste_file(policy_file=f"{tmp_path}/policy.yaml")))).each()
    with monkeypatch.context() as broken:
        broken.setattr(ComputeApplication, "respond", lambda *_: 1 / 0)
        requests.each()
    monkeypatch.setattr(resource, "Call", lambda *_: 1 / 0)
    requests.each()
    has = {(operation, status) for operation, status in DOCUMENT.statuses() if operation.startswith(dialect.name)}
    assert {each for each in seen if each[0]} == has
    assert (None, 405) in seen


@pytest.mark.only_on("sqlite")
@pytest.mark.parametrize("minor", CHANGES)
@pytest.mark.parametrize("dialect", ["openstack"], indirect=True)
@pytest.mark.parametrize("format", ["json"], indirect=True)
def test_an_attachment_is_what_it_has_for_the_microversion(minor, client, client_of, sample):
    client = client_of(sample).at(f"2.{minor}")
    attached = client.attach()
    if attached.body:
        assert fitting("Attached", attached.attachment) == [newest("Attached", minor)]
    assert fitting("Attachment", client.show().attachment) == [newest("Attachment", minor)]
    assert [fitting("Attachment", each) for each in client.list().attachments] == [[newest("Attachment", minor)]]


def named(prefix):
    return [name for name in DOCUMENT.tree["components"]["schemas"] if name.startswith(f"{prefix}_2_")]


def newest(prefix, minor):
    return max(
        (name for name in named(prefix) if int(name.rpartition("_")[2]) <= minor),
        key=lambda name: int(name.rpartition("_")[2]),
    )


def fitting(prefix, attachment):
    found = []
    for name in named(prefix):
        validator = DOCUMENT.validator(json.dumps({"$ref": openapi.pointer("components", "schemas", name)}))
        found += [name] if validator.is_valid(attachment) else []
    return found
