"""The JSON schemas that Nova ships hold for each microversion: for our answers, and for what we take in a request.

And for what the sample's compute API says, for whoever goes by what it says of its microversions.
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
from tests.support.waiting import TIMEOUT
from tests.support.wsgi_service import free_port

WEB, MAIL = "4335bab6-6086-4247-8274-8b8b048edaaa", "20f0cb44-7b00-4019-a612-364777cd2931"
FIRST, SECOND = "a26887c6-c47b-4654-abb5-dfadf7d3f803", "a26887c6-c47b-4654-abb5-dfadf7d3f804"
VERSIONS = MICROVERSIONS["openstack"]

# A version that changes something, and the one before it.
AT_THE_CHANGES = sorted({f"2.{minor}" for change in CHANGES for minor in (change - 1, change) if minor})


@pytest.fixture(scope="session")
def ask_nova(service_venv):
    """Give ``ask_nova(questions)``: what Nova says against each; see ``validate``."""
    python = service_venv("nova") / "bin" / "python"

    def ask(questions):
        script = Path(__file__).with_name("validate.py")
        done = subprocess.run([python, script], input=json.dumps(questions), capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        said = json.loads(done.stdout)
        assert len(said) == len(questions) > 0
        return said

    return ask


@pytest.fixture(scope="session")
def url(start_lasting_server, tmp_path_factory):
    """Give where the attachments of a server of the sample are."""
    port = free_port()
    command = (sys.executable, "-m", "os_volume_ext.cli.main", "serve", "--paste", PASTE)
    start_lasting_server(*command, "--var", tmp_path_factory.mktemp("var"), "--port", str(port), port=port)
    return f"http://127.0.0.1:{port}/v2.1/servers/{WEB}/os-volume_attachments"


class Recorder:
    """Asks the sample at one microversion, and remembers what it answered."""

    def __init__(self, url, version):
        self.session = requests.Session()
        self.session.headers = {"X-Auth-Token": "demo-token", "OpenStack-API-Version": f"compute {version}"}
        self.url, self.version = url, version
        self.answers = []

    def ask(self, operation, method, volume="", **wanted):
        body = {"json": {"volumeAttachment": wanted}} if wanted else {}
        answer = self.session.request(method, self.url + (volume and f"/{volume}"), timeout=TIMEOUT, **body)
        assert answer.ok, answer.text
        assert answer.headers["OpenStack-API-Version"] == f"compute {self.version}"
        self.answers.append(
            [f"attachments.{operation}", "response_body", self.version, answer.json() if answer.content else None]
        )

    def do_everything(self):
        endpoints = VERSIONS[self.version].endpoints
        more = {"device": "/dev/vdx", "tag": "the tag", "delete_on_termination": True}
        self.ask("create", "POST", volumeId=FIRST)
        self.ask(
            "create", "POST", volumeId=SECOND, **{name: more[name] for name in endpoints["collection"]["POST"].members}
        )
        if endpoints["member"]["PUT"].action == "update":
            self.ask("update", "PUT", FIRST, volumeId=FIRST, delete_on_termination=True, serverId=WEB, id=FIRST)
        self.ask("index", "GET")
        for volume in (FIRST, SECOND):
            self.ask("show", "GET", volume)
        for volume in (FIRST, SECOND):
            self.ask("delete", "DELETE", volume)
        self.ask("index", "GET")


def test_every_answer_of_every_microversion_is_valid(ask_nova, url):
    answers = []
    for version in VERSIONS:
        recorder = Recorder(url, version)
        recorder.do_everything()
        answers += recorder.answers
    said = ask_nova(answers)
    assert [(*answer, wrong) for answer, wrong in zip(answers, said, strict=True) if wrong] == []
    operations = {answer[0].removeprefix("attachments.") for answer in answers}
    assert operations == {"create", "update", "index", "show", "delete"}


def test_what_the_sample_says_of_servers_and_flavors_is_valid_in_every_microversion(ask_nova, url):
    base = url.partition("/servers/")[0]
    paths = {
        "servers.index": "/servers",
        "servers.detail": "/servers/detail",
        "servers.show": f"/servers/{WEB}",
        "flavors.index": "/flavors",
        "flavors.detail": "/flavors/detail",
        "flavors.show": "/flavors/1",
    }
    answers = []
    with requests.Session() as session:
        for version, token in itertools.product(VERSIONS, ("demo-token", "admin-token")):
            session.headers = {"X-Auth-Token": token, "OpenStack-API-Version": f"compute {version}"}
            for operation, path in paths.items():
                answer = session.get(base + path, timeout=TIMEOUT)
                answers.append([operation, "response_body", version, answer.json()])
    said = ask_nova(answers)
    assert [(*answer, wrong) for answer, wrong in zip(answers, said, strict=True) if wrong] == []


def test_novas_schemas_would_find_what_is_wrong(ask_nova):
    attachment = {"id": FIRST, "serverId": WEB, "volumeId": FIRST, "device": "/dev/vdb"}
    documents = [attachment, attachment | {"tag": None}, attachment | {"device": ""}, {"volumeId": FIRST}]
    said = ask_nova([["attachments.show", "response_body", "2.1", {"volumeAttachment": each}] for each in documents])
    assert [wrong is None for wrong in said] == [True, False, False, False]


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
def test_a_requests_body_is_taken_where_nova_takes_it(ask_nova, operation):
    questions = [
        [f"attachments.{operation}", "request_body", version, each]
        for version in AT_THE_CHANGES
        for each in documents()
    ]
    said = ask_nova(questions)
    ours = [takes(operation, version, document) for _, _, version, document in questions]
    differing = [
        (version, document, wrong)
        for (_, _, version, document), wrong, taken in zip(questions, said, ours, strict=True)
        if taken is not (wrong is None)
    ]
    assert differing == []
    assert 0 < sum(ours) < len(ours)


def test_a_lists_query_is_taken_where_nova_takes_it(ask_nova):
    names = [(), ("limit",), ("offset",), ("limit", "offset"), ("marker",), ("limit", "whatever")]
    questions = [
        ["attachments.index", "request_query", version, {name: ["1"] for name in each}]
        for version in VERSIONS
        for each in names
    ]
    for (_, _, version, query), wrong in zip(questions, ask_nova(questions), strict=True):
        known = VERSIONS[version].endpoints["collection"]["GET"].params
        try:
            if known is not None:
                queries.check_known([(name, "1") for name in query], known)
            taken = True
        except BadRequest:
            taken = False
        assert taken is (wrong is None), (version, query, wrong)
