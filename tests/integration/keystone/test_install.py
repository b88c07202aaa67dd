"""The files of the pages *Install ...*, each served as the page describes, with a real Keystone.

The operator's directories and addresses in them are replaced by those that are here, and nothing else.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import requests
from lxml import etree

from tests.support.paths import DOCS, ROOT

BIN = Path(sys.executable).parent
TIMEOUT = 60  # seconds


@pytest.fixture
def here(tmp_path, keystone, people, free_port):
    """Give ``here(text)``: a text of the docs with what is so here for what is so with the operator."""
    replacements = {
        "http://controller:5000": keystone.url,
        "http://controller:8774": f"http://127.0.0.1:{free_port}",
        "/etc/compute": str(tmp_path),
        "/var/lib/compute": str(tmp_path),
        "/opt/compute/bin": str(BIN),
        "6f70656e737461636b20342065766572": people.projects["here"],
    }

    def replaced(text):
        for what, by in replacements.items():
            text = text.replace(what, by)
        return text

    return replaced


@pytest.fixture
def shell(here, tmp_path):
    """Give ``shell(command)``: what it printed to standard output."""

    def run(command):
        done = subprocess.run(
            ["sh", "-c", here(command)],
            cwd=tmp_path,
            env={"PATH": f"{BIN}:/usr/bin:/bin"},
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
        )
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        return done.stdout

    return run


@pytest.fixture
def install(here, shell, tmp_path, start_server, free_port):
    """Give ``install(name)``: follow the page of this name, run its commands, serve, and return the URL."""

    def follow(name):
        for path in (DOCS / name).iterdir():
            if path.is_file():
                (tmp_path / path.name).write_text(here(path.read_text()))
        listen = f"--listen=127.0.0.1:{free_port}"
        start_server(sys.executable, "-m", "waitress", listen, "wsgi:application", port=free_port)
        for command, printed in examples(DOCS / f"{name}.rst"):
            assert shell(command) == here(printed)
        return f"http://127.0.0.1:{free_port}"

    return follow


def examples(page):
    """Return the commands that a page shows, each with what it prints."""
    found = re.findall(r"^    \$ ((?:.*\\\n)*.*\n)((?:    [^$].*\n)*)", page.read_text(), re.MULTILINE)
    return [(command, re.sub("^    ", "", printed, flags=re.MULTILINE)) for command, printed in found]


class Attachments:
    """The attachments of one server, requested in one format."""

    def __init__(self, root, server, token, format):
        self.url = f"{root}/servers/{server}/os-volume_attachments"
        self.format = format
        self.headers = {"X-Auth-Token": token, "Accept": f"application/{format}"}

    def send_request(self, method, volume="", body=None):
        headers = self.headers | ({"Content-Type": f"application/{self.format}"} if body else {})
        url = f"{self.url}/{volume}" if volume else self.url
        return requests.request(method, url, data=body, headers=headers, timeout=TIMEOUT)

    def attach(self, volume):
        as_json = json.dumps({"volumeAttachment": {"volumeId": volume}})
        return self.send_request(
            "POST", body=as_json if self.format == "json" else f'<volumeAttachment volumeId="{volume}"/>'
        )

    def read(self, response):
        """Return the ids of the volumes in a response."""
        assert (response.status_code, response.headers["Content-Type"]) == (
            200,
            f"application/{self.format}; charset=UTF-8",
        )
        if self.format == "xml":
            return etree.fromstring(response.content).xpath("//volumeAttachment/@volumeId")
        [content] = response.json().values()
        return [str(each["volumeId"]) for each in (content if isinstance(content, list) else [content])]


def make_server(root, token):
    response = requests.post(
        f"{root}/servers", json={"server": {"name": "one"}}, headers={"X-Auth-Token": token}, timeout=TIMEOUT
    )
    assert response.status_code == 202, response.text
    return response.json()["server"]["id"]


def attach_list_show_and_detach(root, people, volume):
    server = make_server(root, people.tokens["member"])
    for format in ("json", "xml"):
        members, outsiders = (Attachments(root, server, people.tokens[who], format) for who in ("member", "outsider"))
        assert members.read(members.attach(volume)) == [volume]
        assert members.read(members.send_request("GET")) == [volume]
        assert members.read(members.send_request("GET", volume)) == [volume]
        assert outsiders.send_request("GET").status_code == 404
        assert members.send_request("DELETE", volume).ok
        assert members.read(members.send_request("GET")) == []


def get(url, token=None, **headers):
    return requests.get(url, headers=headers | ({"X-Auth-Token": token} if token else {}), timeout=TIMEOUT)


class TestPaste:
    VOLUME = "a26887c6-c47b-4654-abb5-dfadf7d3f803"

    def test_the_extension_is_served_beside_the_compute_api_and_logged(self, install, people, tmp_path, free_port):
        root, member = install("paste"), people.tokens["member"]
        attach_list_show_and_detach(root, people, self.VOLUME)

        server = make_server(root, member)
        assert get(f"{root}/servers/{server}", member).json()["server"]["id"] == server
        assert get(f"{root}/servers/{server}").status_code == 401
        extensions = get(f"{root}/extensions", member).json()["extensions"]
        assert [each["alias"] for each in extensions][-1] == "os-volumes"
        assert len(extensions) > 1

        log = (tmp_path / f"server-{free_port}.log").read_text()
        line = rf" INFO os_volume_ext\.observers\.log req-\S+ attach: volume {self.VOLUME}, server \S+, .* ms: done\n"
        assert re.search(line, log)

    def test_what_cron_runs_finds_all_as_it_should_be(self, install, shell, people, tmp_path):
        root, member = install("paste"), people.tokens["member"]
        assert Attachments(root, make_server(root, member), member, "json").attach(self.VOLUME).ok
        pending, everything = re.findall(r"\* compute (.*)", (DOCS / "paste" / "crontab").read_text())
        assert shell(pending) == ""
        assert (tmp_path / "reconcile.log").read_text() == "\n0 consistent, 0 repaired, 0 unresolved\n"
        assert shell(f"{everything} 2>&1") == "\n1 consistent, 0 repaired, 0 unresolved\n"

    @pytest.mark.parametrize(
        ("unit", "consistent"), [("os-volume-ext-reconcile", 0), ("os-volume-ext-reconcile-all", 1)]
    )
    def test_what_systemd_runs_finds_all_as_it_should_be(self, install, shell, people, unit, consistent):
        root, member = install("paste"), people.tokens["member"]
        assert Attachments(root, make_server(root, member), member, "json").attach(self.VOLUME).ok
        service = (ROOT / "etc" / "systemd" / f"{unit}.service").read_text()
        environment, command = (
            re.search(f"^{key}=(.*)", service, re.MULTILINE)[1] for key in ("Environment", "ExecStart")
        )
        assert shell(f"{environment} {command} 2>&1") == f"\n{consistent} consistent, 0 repaired, 0 unresolved\n"


class TestDjango:
    VOLUME = "9"

    def test_the_extension_is_served_beside_djangos_own_pages(self, install, people):
        url, member = install("django"), people.tokens["member"]
        root = f"{url}/compute/v2.0"
        attach_list_show_and_detach(root, people, self.VOLUME)

        server = make_server(root, member)
        assert get(url).text == "This is the front page of the Django project."
        assert get(f"{url}/nowhere").headers["Content-Type"] == "text/html; charset=utf-8"
        assert get(f"{root}/servers/{server}", member).json()["server"]["id"] == server
        assert get(f"{root}/servers/{server}", people.tokens["outsider"]).status_code == 404

    def test_forged_headers_of_a_client_are_not_trusted(self, install, people):
        root = f"{install('django')}/compute/v2.0"
        server = make_server(root, people.tokens["member"])
        forged = {"X-Identity-Status": "Confirmed", "X-Roles": "admin", "X-Project-Id": people.projects["here"]}
        for path in (f"/servers/{server}", f"/servers/{server}/os-volume_attachments"):
            assert get(root + path, **forged).status_code == 401

    def test_reconcile_finds_all_as_it_should_be(self, install, shell, people):
        root, member = f"{install('django')}/compute/v2.0", people.tokens["member"]
        assert Attachments(root, make_server(root, member), member, "json").attach(self.VOLUME).ok
        reconcile = "os-volume-ext reconcile --all --paste /etc/compute/volumes.ini"
        assert shell(f"{reconcile} 2>&1") == "\n1 consistent, 0 repaired, 0 unresolved\n"
