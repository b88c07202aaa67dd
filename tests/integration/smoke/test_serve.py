"""``os-volume-ext serve`` as a process of its own: the sample over TCP, and start-ups that must not succeed."""

import configparser
import http.client
import json
import shutil
import signal
import socket
import subprocess
import sys

import pytest
from lxml import etree

from tests.support.paths import PASTE
from tests.support.services import require_service

COMMAND = (sys.executable, "-m", "os_volume_ext.cli.main", "serve")
END_TIMEOUT = 30  # seconds that a process may take to end

# Where each dialect is, and an attach, a show, a list and a detach in it.
CYCLADES = ("/compute/v2.0/servers/1134/os-volume_attachments", 9, "", 200)
OPENSTACK = (
    "/v2.1/servers/4335bab6-6086-4247-8274-8b8b048edaaa/os-volume_attachments",
    "a26887c6-c47b-4654-abb5-dfadf7d3f803",
    "/dev/vdb",
    202,
)

in_both_dialects = pytest.mark.parametrize(
    ("path", "volume", "device", "detached"), [CYCLADES, OPENSTACK], ids=["cyclades", "openstack"]
)


@pytest.fixture
def var(tmp_path):
    return tmp_path / "var"


@pytest.fixture
def serve(start_server, free_port, var):
    """Give ``serve()``: the process, once it answers."""
    return lambda: start_server(*COMMAND, "--paste", PASTE, "--var", var, "--port", str(free_port), port=free_port)


@pytest.fixture
def ask(free_port):
    """Give ``ask(method, path, body, media_type)``: the status, the Content-Type and the body."""

    def send(method, path, body=None, media_type="application/json"):
        headers = {"X-Auth-Token": "demo-token", "Accept": media_type}
        if body is not None:
            headers["Content-Type"] = media_type
        connection = http.client.HTTPConnection("127.0.0.1", free_port, timeout=END_TIMEOUT)
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.headers.get("Content-Type"), answer.read()
        finally:
            connection.close()

    return send


def end(process):
    """Press Ctrl-C; return the exit status."""
    process.send_signal(signal.SIGINT)
    return process.wait(END_TIMEOUT)


class TestServing:
    @in_both_dialects
    def test_the_four_operations_in_json(self, serve, ask, path, volume, device, detached):
        serve()
        shown = {"device": device, "serverId": server_of(path), "id": volume, "volumeId": volume}
        media_type = "application/json; charset=UTF-8"
        status, content_type, body = ask("POST", path, json.dumps({"volumeAttachment": {"volumeId": volume}}))
        assert (status, content_type, json.loads(body)) == (200, media_type, {"volumeAttachment": shown})
        status, content_type, body = ask("GET", f"{path}/{volume}")
        assert (status, content_type, json.loads(body)) == (200, media_type, {"volumeAttachment": shown})
        status, content_type, body = ask("GET", path)
        assert (status, content_type, json.loads(body)) == (200, media_type, {"volumeAttachments": [shown]})
        assert ask("DELETE", f"{path}/{volume}") == (detached, None, b"")
        assert json.loads(ask("GET", path)[2]) == {"volumeAttachments": []}

    @in_both_dialects
    def test_the_four_operations_in_xml(self, serve, ask, path, volume, device, detached):
        serve()
        xml = "application/xml"
        attributes = {"device": device, "serverId": str(server_of(path)), "id": str(volume), "volumeId": str(volume)}
        shown = ("volumeAttachment", attributes)
        status, content_type, body = ask("POST", path, f'<volumeAttachment volumeId="{volume}"/>', xml)
        assert (status, content_type, element(body)) == (200, f"{xml}; charset=UTF-8", shown)
        status, content_type, body = ask("GET", f"{path}/{volume}", media_type=xml)
        assert (status, content_type, element(body)) == (200, f"{xml}; charset=UTF-8", shown)
        status, content_type, body = ask("GET", path, media_type=xml)
        root = etree.fromstring(body)
        assert (status, root.tag, [(child.tag, dict(child.attrib)) for child in root]) == (
            200, "volumeAttachments", [shown],
        )  # fmt: skip
        assert ask("DELETE", f"{path}/{volume}", media_type=xml) == (detached, None, b"")
        assert len(etree.fromstring(ask("GET", path, media_type=xml)[2])) == 0

    def test_a_chunked_body_is_read_to_its_end(self, serve, ask):
        serve()
        path = CYCLADES[0]
        pieces = iter([b'{"volumeAttachment":', b' {"volumeId"', b": 9}}"])
        assert ask("POST", path, pieces)[0] == 200

    @pytest.mark.parametrize("target", ["*", CYCLADES[0].lstrip("/")])
    def test_what_is_no_path_is_a_bad_request(self, serve, ask, target):
        serve()
        assert ask("OPTIONS", target)[0] == 400
        assert ask("GET", CYCLADES[0])[0] == 200

    def test_what_it_prints_can_be_pasted_into_a_shell(self, serve, tmp_path, free_port):
        require_service(shutil.which("curl"), "curl is not installed")
        process = serve()
        printed = (tmp_path / f"server-{free_port}.log").read_text()
        assert f"at http://127.0.0.1:{free_port}; press Ctrl-C to stop." in printed
        lines = [line for line in printed.splitlines() if line.startswith("curl ")]
        answers = [
            subprocess.run(
                ["sh", "-c", f"{line} --silent --show-error --fail"], check=True, capture_output=True, text=True
            ).stdout
            for line in lines
        ]
        shown = {"device": "", "serverId": 1134, "id": 9, "volumeId": 9}
        assert [json.loads(answer) for answer in answers[:2]] == [
            {"volumeAttachment": shown},
            {"volumeAttachments": [shown]},
        ]
        assert answers[2:] == [""]
        assert process.poll() is None

    def test_ctrl_c_ends_it_with_exit_status_0(self, serve, ask):
        process = serve()
        assert ask("GET", CYCLADES[0])[0] == 200
        assert end(process) == 0

    def test_sigterm_ends_it_with_exit_status_0(self, serve):
        process = serve()
        process.terminate()
        assert process.wait(END_TIMEOUT) == 0

    def test_a_second_start_finds_what_the_first_attached(self, serve, ask):
        process = serve()
        for path, volume, _, _ in (CYCLADES, OPENSTACK):
            assert ask("POST", path, json.dumps({"volumeAttachment": {"volumeId": volume}}))[0] == 200
        end(process)
        serve()
        for path, volume, _, detached in (CYCLADES, OPENSTACK):
            found = json.loads(ask("GET", path)[2])["volumeAttachments"]
            assert [attachment["volumeId"] for attachment in found] == [volume]
            assert ask("DELETE", f"{path}/{volume}")[0] == detached

    def test_one_that_is_killed_leaves_what_was_attached(self, serve, ask):
        process = serve()
        path, volume, *_ = CYCLADES
        ask("POST", path, json.dumps({"volumeAttachment": {"volumeId": volume}}))
        process.kill()
        process.wait(END_TIMEOUT)
        serve()
        assert ask("GET", f"{path}/{volume}")[0] == 200


def server_of(path):
    server = path.split("/")[-2]
    return int(server) if server.isdigit() else server


def element(body):
    root = etree.fromstring(body)
    return root.tag, dict(root.attrib)


@pytest.fixture
def refuse(tmp_path, var, free_port):
    """Give ``refuse(**options)``: the one sentence with which a start-up ends that was given these.

    ``var``, ``port`` and ``paste`` are the command's, the others the cyclades section's.
    """

    def run(var=var, port=free_port, paste=None, **options):
        parser = configparser.RawConfigParser()
        parser.read(PASTE)
        for name, value in options.items():
            parser.set("filter:volumes_cyclades", name, str(value))
        edited = tmp_path / "edited.ini"
        with edited.open("w") as file:
            parser.write(file)
        done = subprocess.run(
            [*COMMAND, "--paste", paste or edited, "--var", var, "--port", str(port)],
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=END_TIMEOUT,
        )
        assert (done.returncode, done.stdout) == (1, ""), done.stderr
        assert done.stderr.endswith("\n")
        assert done.stderr.count("\n") == 1, done.stderr
        return done.stderr

    return run


class TestRefusals:
    def test_a_port_in_use(self, refuse):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
            said = refuse(port=port)
        assert f"127.0.0.1:{port}" in said
        assert "in use" in said

    def test_a_misspelled_option(self, refuse):
        said = refuse(max_bodies=1)
        assert "max_bodies" in said
        assert "did you mean max_body?" in said

    def test_an_unknown_dialect(self, refuse):
        said = refuse(dialect="nova")
        assert "dialect" in said
        assert "'nova'" in said
        assert "cyclades or openstack" in said

    def test_an_unknown_backend(self, refuse):
        said = refuse(backend="no-such")
        assert "backend" in said
        assert "'no-such'" in said
        assert "directory" in said

    def test_an_unknown_catalog(self, refuse):
        said = refuse(catalog="no-such")
        assert "catalog" in said
        assert "'no-such'" in said
        assert "sql" in said

    def test_an_unknown_option_of_the_backend(self, refuse):
        assert "backend.rooot" in refuse(**{"backend.rooot": "/tmp"})

    @pytest.mark.parametrize("name", ["backend.root", "policy_file"])
    def test_a_relative_path(self, refuse, name):
        said = refuse(**{name: "somewhere"})
        assert name in said
        assert "%(here)s" in said

    def test_a_relative_database(self, refuse):
        said = refuse(**{"database.url": "sqlite:///somewhere.db"})
        assert "database.url" in said
        assert "%(here)s" in said

    def test_a_state_directory_that_can_not_be_made(self, refuse, tmp_path):
        (tmp_path / "file").touch()
        said = refuse(var=tmp_path / "file" / "var")
        assert "state and directories" in said  # the demo compute API's, which is made before the filter
        assert str(tmp_path / "file" / "var") in said

    def test_a_database_that_can_not_be_made(self, refuse, tmp_path):
        (tmp_path / "file").touch()
        said = refuse(**{"database.url": f"sqlite:///{tmp_path}/file/registry.db"})
        assert "database.url" in said
        assert f"{tmp_path}/file/registry.db" in said

    def test_a_backend_root_that_can_not_be_made(self, refuse, tmp_path):
        (tmp_path / "file").touch()
        said = refuse(**{"backend.root": tmp_path / "file" / "disks"})
        assert "backend.root" in said
        assert str(tmp_path / "file" / "disks") in said

    def test_a_policy_file_that_is_not_there(self, refuse, tmp_path):
        said = refuse(policy_file=tmp_path / "no-such.yaml")
        assert "policy_file" in said
        assert "no-such.yaml" in said

    def test_a_policy_file_that_can_not_be_read(self, refuse, tmp_path):
        """chmod does not keep root out; a directory does."""
        (tmp_path / "policy.yaml").mkdir()
        assert "policy_file" in refuse(policy_file=tmp_path / "policy.yaml")

    @pytest.mark.parametrize("text", ["[1, 2", "- a list", '"a rule": {', "\x00"])
    def test_a_policy_file_that_is_no_policy(self, refuse, tmp_path, text):
        (tmp_path / "policy.yaml").write_text(text)
        said = refuse(policy_file=tmp_path / "policy.yaml")
        assert "policy_file" in said
        assert "policy.yaml" in said

    def test_a_paste_file_that_is_not_there(self, refuse, tmp_path):
        said = refuse(paste=tmp_path / "no-such.ini")
        assert "--paste" in said
        assert "no-such.ini" in said
