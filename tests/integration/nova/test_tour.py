"""Nova responds with the extension as without it, byte for byte."""

import http.client
import json
import re
import shutil
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.integration.nova.real_nova import PLAIN, Nova
from tests.integration.nova.tour import steps
from tests.support.waiting import TIMEOUT

# What differs between any two responses of Nova.
REQUEST_ID = re.compile(rb"req-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
DATE = re.compile(rb"20[0-9]{2}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+|Z)?")
ID = re.compile(rb"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@pytest.fixture(scope="module")
def twins(installed, keystone, surroundings, made, tmp_path_factory):
    """Serve two Novas of the same state, each with databases of its own: as it came, and with the filter."""
    novas = []
    for paste in (PLAIN, installed.paste):
        directory = tmp_path_factory.mktemp("twin") / "nova"
        shutil.copytree(installed.directory, directory, symlinks=True)
        novas.append(Nova(installed.venv, directory, paste=paste))
    without, with_ours = novas
    with_ours.plug_in(keystone)
    with without.serving(), with_ours.serving():
        yield without, with_ours


def test_every_foreign_request_gets_the_same_response_as_without_us(twins, people, made):
    fresh, kinds = made
    names = {
        "server": next(fresh),
        "doomed": next(fresh),
        "other": kinds["of another project"],
        "project": people.projects["here"],
        "another_project": people.projects["there"],
    }
    known = {value.encode() for value in names.values()} | {value.encode() for value in kinds.values()}

    def tour(nova):
        return [masked(response_of(nova, step, step.path.format(**names), people.tokens), known) for step in steps()]

    with ThreadPoolExecutor() as pool:
        without, with_ours = pool.map(tour, twins)
    different = [each for each in zip(steps(), without, with_ours, strict=True) if each[1] != each[2]]
    assert different == []
    routes = {(step.method, step.path.partition("?")[0]) for step in steps()}
    statuses = Counter(status for status, _, _ in without)
    print(f"{len(without)} requests, {len(routes)} routes, statuses {sorted(statuses.items())}")
    assert len(routes) >= 100
    assert statuses.keys() >= {200, 202, 204, 300, 400, 401, 403, 404, 406, 409, 413}


def response_of(nova, step, path, tokens):
    """Return the status, the headers in their order, and the body."""
    headers = {"Host": "controller:8774", "Accept": "*/*"} | dict(step.headers or {})
    if step.who:
        headers["X-Auth-Token"] = tokens[step.who]
    if step.microversion:
        headers["OpenStack-API-Version"] = f"compute {step.microversion}"
    body = step.body
    if step.document is not None:
        body = json.dumps(step.document).encode()
    if body is not None:
        headers.setdefault("Content-Type", "application/json")
    connection = http.client.HTTPConnection("127.0.0.1", nova.port, timeout=TIMEOUT)
    try:
        connection.request(step.method, path, body, headers)
        response = connection.getresponse()
        return response.status, response.getheaders(), response.read()
    finally:
        connection.close()


def masked(response, known):
    """Put words in the place of dates, request ids and the ids of what was made on the way."""
    status, headers, body = response

    def mask(text):
        text = DATE.sub(b"DATE", REQUEST_ID.sub(b"REQUEST", text))
        return ID.sub(lambda found: found[0] if found[0] in known else b"ID", text)

    kept = [(name, mask(value.encode())) for name, value in headers if name != "Date"]
    return status, kept, mask(body)
