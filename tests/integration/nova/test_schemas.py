"""The JSON schemas that Nova ships hold for each microversion: for our responses, and for the requests that we accept.

They hold for the responses of the sample's compute API too, which clients use to negotiate.
"""

import itertools
import json
import subprocess
import sys
from pathlib import Path

import pytest
import requests

from os_volume_ext.api import bodies, queries
from os_volume_ext.api.faults import BadRequest
from os_volume_ext.api.microversions import CHANGES, MICROVERSIONS
from tests.support.paths import PASTE
from tests.support.ports import free_port
from tests.support.waiting import TIMEOUT

WEB, MAIL = "4335bab6-6086-4247-8274-8b8b048edaaa", "20f0cb44-7b00-4019-a612-364777cd2931"
FIRST, SECOND = "a26887c6-c47b-4654-abb5-dfadf7d3f803", "a26887c6-c47b-4654-abb5-dfadf7d3f804"
VERSIONS = MICROVERSIONS["openstack"]

# A version that changes something, and the one before it.
AT_THE_CHANGES = sorted({f"2.{minor}" for change in CHANGES for minor in (change - 1, change) if minor})


@pytest.fixture(scope="session")
def validate_with_nova(service_venv):
    """Give ``validate_with_nova(questions)``: Nova's error for each; see ``validate``."""
    python = service_venv("nova") / "bin" / "python"

    def send_request(questions):
        script = Path(__file__).with_name("validate.py")
        done = subprocess.run([python, script], input=json.dumps(questions), capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        errors = json.loads(done.stdout)
        assert len(errors) == len(questions) > 0
        return errors

    return send_request


@pytest.fixture(scope="session")
def url(start_lasting_server, tmp_path_factory):
    """Give where the attachments of a server of the sample are."""
    port = free_port()
    command = (sys.executable, "-m", "os_volume_ext.cli.main", "serve", "--paste", PASTE)
    start_lasting_server(*command, "--var", tmp_path_factory.mktemp("var"), "--port", str(port), port=port)
    return f"http://127.0.0.1:{port}/v2.1/servers/{WEB}/os-volume_attachments"


class Recorder:
    """Sends requests to the sample at one microversion, and records the responses."""

    def __init__(self, url, version):
        self.session = requests.Session()
        self.session.headers = {"X-Auth-Token": "demo-token", "OpenStack-API-Version": f"compute {version}"}
        self.url, self.version = url, version
        self.responses = []

    def send_request(self, operation, method, volume="", **members):
        body = {"json": {"volumeAttachment": members}} if members else {}
        response = self.session.request(method, self.url + (volume and f"/{volume}"), timeout=TIMEOUT, **body)
        assert response.ok, response.text
        assert response.headers["OpenStack-API-Version"] == f"compute {self.version}"
        self.responses.append(
            [f"attachments.{operation}", "response_body", self.version, response.json() if response.content else None]
        )

    def do_everything(self):
        endpoints = VERSIONS[self.version].endpoints
        more = {"device": "/dev/vdx", "tag": "the tag", "delete_on_termination": True}
        self.send_request("create", "POST", volumeId=FIRST)
        self.send_request(
            "create", "POST", volumeId=SECOND, **{name: more[name] for name in endpoints["collection"]["POST"].members}
        )
        if endpoints["member"]["PUT"].action == "update":
            self.send_request(
                "update", "PUT", FIRST, volumeId=FIRST, delete_on_termination=True, serverId=WEB, id=FIRST
            )
        self.send_request("index", "GET")
        for volume in (FIRST, SECOND):
            self.send_request("show", "GET", volume)
        for volume in (FIRST, SECOND):
            self.send_request("delete", "DELETE", volume)
        self.send_request("index", "GET")


def test_every_response_of_every_microversion_is_valid(validate_with_nova, url):
    responses = []
    for version in VERSIONS:
        recorder = Recorder(url, version)
        recorder.do_everything()
        responses += recorder.responses
    errors = validate_with_nova(responses)
    assert [(*response, wrong) for response, wrong in zip(responses, errors, strict=True) if wrong] == []
    operations = {response[0].removeprefix("attachments.") for response in responses}
    assert operations == {"create", "update", "index", "show", "delete"}


def test_the_samples_servers_and_flavors_are_valid_in_every_microversion(validate_with_nova, url):
    base = url.partition("/servers/")[0]
    paths = {
        "servers.index": "/servers",
        "servers.detail": "/servers/detail",
        "servers.show": f"/servers/{WEB}",
        "flavors.index": "/flavors",
        "flavors.detail": "/flavors/detail",
        "flavors.show": "/flavors/1",
    }
    responses = []
    with requests.Session() as session:
        for version, token in itertools.product(VERSIONS, ("demo-token", "admin-token")):
            session.headers = {"X-Auth-Token": token, "OpenStack-API-Version": f"compute {version}"}
            for operation, path in paths.items():
                response = session.get(base + path, timeout=TIMEOUT)
                responses.append([operation, "response_body", version, response.json()])
    errors = validate_with_nova(responses)
    assert [(*response, wrong) for response, wrong in zip(responses, errors, strict=True) if wrong] == []


def test_novas_schemas_would_find_what_is_wrong(validate_with_nova):
    attachment = {"id": FIRST, "serverId": WEB, "volumeId": FIRST, "device": "/dev/vdb"}
    documents = [attachment, attachment | {"tag": None}, attachment | {"device": ""}, {"volumeId": FIRST}]
    errors = validate_with_nova(
        [["attachments.show", "response_body", "2.1", {"volumeAttachment": each}] for each in documents]
    )
    assert [wrong is None for wrong in errors] == [True, False, False, False]


# Each member with values that both take and values that neither does. Left out is where we take less: an id without
# hyphens, a device of more than 255 letters, and a tag with what XML can't hold.
VALUES = {
    "volumeId": [FIRST, FIRST.upper(), "9", "", 9, None, True, [], {}],
    "device": ["/dev/vdb", "/dev/sda1", "/dev/xvdb", None, "", "vdb", "/dev/", "/dev/1", "/dev/VDB", 1, True, []],
    "tag": ["t", "the tag", "\U0001f4be", "x" * 60, "x" * 61, "", "a,b", "a/b", None, 1, True, []],
    "delete_on_termination": [True, False, "True", "on", "NO", "0", "1", "tRUE", "", 0, 1, 1.0, None, []],
    "id": [FIRST, "9", "", 9, None],
    "serverId": [WEB, "9", "", 9, None],
    "attachment_id": [FIRST],
    "bdm_uuid": [FIRST],
    "whatever": ["x"],
}


def documents():
    for name, values in VALUES.items():
        for value in values:
            yield {"volumeAttachment": {"volumeId": FIRST, name: value}}
    everything = {name: values[0] for name, values in VALUES.items()}
    names = list(VALUES)
    for length in range(len(names) + 1):
        yield {"volumeAttachment": {name: everything[name] for name in names[:length]}}
    yield from ({}, [], None, "x", 9, {"volumeAttachment": None}, {"volumeAttachment": []}, {"volume": {}})
    yield {"volumeAttachment": {"volumeId": FIRST}, "whatever": {}}


def takes(operation, version, document):
    """Say whether we take a document as the body of a request."""
    dialect, endpoints = VERSIONS[version]
    endpoint = endpoints["collection"]["POST"] if operation == "create" else endpoints["member"]["PUT"]
    try:
        bodies.read_members(document, endpoint.members, dialect)
    except BadRequest:
        return False
    return True


@pytest.mark.parametrize("operation", ["create", "update"])
def test_a_requests_body_is_taken_where_nova_takes_it(validate_with_nova, operation):
    questions = [
        [f"attachments.{operation}", "request_body", version, each]
        for version in AT_THE_CHANGES
        for each in documents()
    ]
    errors = validate_with_nova(questions)
    ours = [takes(operation, version, document) for _, _, version, document in questions]
    differing = [
        (version, document, wrong)
        for (_, _, version, document), wrong, accepted in zip(questions, errors, ours, strict=True)
        if accepted is not (wrong is None)
    ]
    assert differing == []
    assert 0 < sum(ours) < len(ours)


def test_a_lists_query_is_taken_where_nova_takes_it(validate_with_nova):
    names = [(), ("limit",), ("offset",), ("limit", "offset"), ("marker",), ("limit", "whatever")]
    questions = [
        ["attachments.index", "request_query", version, {name: ["1"] for name in each}]
        for version in VERSIONS
        for each in names
    ]
    for (_, _, version, query), wrong in zip(questions, validate_with_nova(questions), strict=True):
        known = VERSIONS[version].endpoints["collection"]["GET"].params
        try:
            if known is not None:
                queries.check_known([(name, "1") for name in query], known)
            accepted = True
        except BadRequest:
            accepted = False
        assert accepted is (wrong is None), (version, query, wrong)
