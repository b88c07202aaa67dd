"""``os-volume-ext serve`` as a process of its own: the sample over TCP, and start-ups that must not succeed."""

import configparser
import http.client
import json
import logging
import multiprocessing
import os
import shutil
import signal
import socket
import subprocess
import sys

import pytest
from lxml import etree

from os_volume_ext.cli.main import main
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
    """Give ``serve()``: the process, once it responds."""
    return lambda: start_server(*COMMAND, "--paste", PASTE, "--var", var, "--port", str(free_port), port=free_port)


@pytest.fixture
def send_request(free_port):
    """Give ``send_request(method, path, body, media_type)``: the status, the Content-Type and the body."""

    def send(method, path, body=None, media_type="application/json"):
        headers = {"X-Auth-Token": "demo-token", "Accept": media_type}
        if body is not None:
            headers["Content-Type"] = media_type
        connection = http.client.HTTPConnection("127.0.0.1", free_port, timeout=END_TIMEOUT)
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            return response.status, response.headers.get("Content-Type"), response.read()
        finally:
            connection.close()

    return send


def end(process):
    """Press Ctrl-C; return the exit status."""
    process.send_signal(signal.SIGINT)
    return process.wait(END_TIMEOUT)


class TestServing:
    @in_both_dialects
    def test_the_four_operations_in_json(self, serve, send_request, path, volume, device, detached):
        serve()
        shown = {"device": device, "serverId": server_of(path), "id": volume, "volumeId": volume}
        media_type = "application/json; charset=UTF-8"
        status, content_type, body = send_request("POST", path, json.dumps({"volumeAttachment": {"volumeId": volume}}))
        assert (status, content_type, json.loads(body)) == (200, media_type, {"volumeAttachment": shown})
        status, content_type, body = send_request("GET", f"{path}/{volume}")
        assert (status, content_type, json.loads(body)) == (200, media_type, {"volumeAttachment": shown})
        status, content_type, body = send_request("GET", path)
        assert (status, content_type, json.loads(body)) == (200, media_type, {"volumeAttachments": [shown]})
        assert send_request("DELETE", f"{path}/{volume}") == (detached, None, b"")
        assert json.loads(send_request("GET", path)[2]) == {"volumeAttachments": []}

    @in_both_dialects
    def test_the_four_operations_in_xml(self, serve, send_request, path, volume, device, detached):
        serve()
        xml = "application/xml"
        attributes = {"device": device, "serverId": str(server_of(path)), "id": str(volume), "volumeId": str(volume)}
        shown = ("volumeAttachment", attributes)
        status, content_type, body = send_request("POST", path, f'<volumeAttachment volumeId="{volume}"/>', xml)
        assert (status, content_type, element(body)) == (200, f"{xml}; charset=UTF-8", shown)
        status, content_type, body = send_request("GET", f"{path}/{volume}", media_type=xml)
        assert (status, content_type, element(body)) == (200, f"{xml}; charset=UTF-8", shown)
        status, content_type, body = send_request("GET", path, media_type=xml)
        root = etree.fromstring(body)
        assert (status, root.tag, [(child.tag, dict(child.attrib)) for child in root]) == (
            200, "volumeAttachments", [shown],
        )  # fmt: skip
        assert send_request("DELETE", f"{path}/{volume}", media_type=xml) == (detached, None, b"")
        assert len(etree.fromstring(send_request("GET", path, media_type=xml)[2])) == 0

    def test_a_chunked_body_is_read_to_its_end(self, serve, send_request):
        serve()
        path = CYCLADES[0]
        pieces = iter([b'{"volumeAttachment":', b' {"volumeId"', b": 9}}"])
        assert send_request("POST", path, pieces)[0] == 200

    @in_both_dialects
    def test_a_volume_of_a_deleted_server_is_detached_at_any_port(
        self, serve, send_request, path, volume, device, detached
    ):
        """The filter asks its own compute API, at the port of ``serve``, whether the server is gone."""
        serve()
        server = path.removesuffix("/os-volume_attachments")
        body = json.dumps({"volumeAttachment": {"volumeId": volume}})
        assert send_request("POST", path, body)[0] == 200
        assert send_request("DELETE", server)[0] == 204
        assert send_request("DELETE", f"{path}/{volume}")[0] == detached

    @pytest.mark.parametrize("target", ["*", CYCLADES[0].lstrip("/")])
    def test_what_is_no_path_is_a_bad_request(self, serve, send_request, target):
        serve()
        assert send_request("OPTIONS", target)[0] == 400
        assert send_request("GET", CYCLADES[0])[0] == 200

    def test_what_it_prints_can_be_pasted_into_a_shell(self, serve, tmp_path, free_port):
        require_service(shutil.which("curl"), "curl is not installed")
        process = serve()
        printed = (tmp_path / f"server-{free_port}.log").read_text()
        assert f"at http://127.0.0.1:{free_port}; press Ctrl-C to stop." in printed
        lines = [line for line in printed.splitlines() if line.startswith("curl ")]
        responses = [
            subprocess.run(
                ["sh", "-c", f"{line} --silent --show-error --fail"], check=True, capture_output=True, text=True
            ).stdout
            for line in lines
        ]
        shown = {"device": "", "serverId": 1134, "id": 9, "volumeId": 9}
        assert [json.loads(response) for response in responses[:2]] == [
            {"volumeAttachment": shown},
            {"volumeAttachments": [shown]},
        ]
        assert responses[2:] == [""]
        assert process.poll() is None

    def test_ctrl_c_ends_it_with_exit_status_0(self, serve, send_request):
        process = serve()
        assert send_request("GET", CYCLADES[0])[0] == 200
        assert end(process) == 0

    def test_sigterm_ends_it_with_exit_status_0(self, serve):
        process = serve()
        process.terminate()
        assert process.wait(END_TIMEOUT) == 0

    def test_a_second_start_finds_what_the_first_attached(self, serve, send_request):
        process = serve()
        for path, volume, _, _ in (CYCLADES, OPENSTACK):
            assert send_request("POST", path, json.dumps({"volumeAttachment": {"volumeId": volume}}))[0] == 200
        end(process)
        serve()
        for path, volume, _, detached in (CYCLADES, OPENSTACK):
            found = json.loads(send_request("GET", path)[2])["volumeAttachments"]
            assert [attachment["volumeId"] for attachment in found] == [volume]
            assert send_request("DELETE", f"{path}/{volume}")[0] == detached

    def test_one_that_is_killed_leaves_what_was_attached(self, serve, send_request):
        process = serve()
        path, volume, *_ = CYCLADES
        send_request("POST", path, json.dumps({"volumeAttachment": {"volumeId": volume}}))
        process.kill()
        process.wait(END_TIMEOUT)
        serve()
        assert send_request("GET", f"{path}/{volume}")[0] == 200


def server_of(path):
    server = path.split("/")[-2]
    return int(server) if server.isdigit() else server


def element(body):
    root = etree.fromstring(body)
    return root.tag, dict(root.attrib)


def serve_forked(arguments, directory):
    """Run the command in a process forked from this one, which has imported everything; return status and output."""

    def run():
        os.chdir(directory)
        logging.getLogger().handlers.clear()  # pytest's
        with (directory / "out").open("w") as sys.stdout, (directory / "err").open("w") as sys.stderr:
            status = main(["serve", *map(str, arguments)])
        os._exit(status)

    process = multiprocessing.get_context("fork").Process(target=run)
    process.start()
    process.join(END_TIMEOUT)
    process.kill()
    return process.exitcode, (directory / "out").read_text(), (directory / "err").read_text()


@pytest.fixture
def refuse(tmp_path, var, free_port):
    """Give ``refuse(**options)``: the one line that a start with these options prints before it fails.

    ``var``, ``port`` and ``paste`` are the command's, the others the cyclades section's, which the line names.
    """

    def run(var=var, port=free_port, paste=None, **options):
        parser = configparser.RawConfigParser()
        parser.read(PASTE)
        for name, value in options.items():
            parser.set("filter:volumes_cyclades", name, str(value))
        edited = tmp_path / "edited.ini"
        with edited.open("w") as file:
            parser.write(file)
        status, out, err = serve_forked(["--paste", paste or edited, "--var", var, "--port", port], tmp_path)
        assert (status, out) == (1, ""), err
        assert err.endswith("\n")
        assert err.count("\n") == 1, err
        assert not options or err.startswith(f"os-volume-ext: {edited}: [filter:volumes_cyclades]: "), err
        return err

    return run


def test_a_process_that_can_not_start_exits_with_status_1_and_one_line(tmp_path):
    done = subprocess.run(
        [*COMMAND, "--paste", "no-such.ini"],
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=END_TIMEOUT,
    )
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1), done.stderr


class TestRefusals:
    def test_a_port_in_use(self, refuse):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
            message = refuse(port=port)
        assert f"127.0.0.1:{port}" in message
        assert "in use" in message

    def test_a_misspelled_option(self, refuse):
        message = refuse(max_bodies=1)
        assert "max_bodies" in message
        assert "did you mean max_body?" in message

    def test_an_unknown_dialect(self, refuse):
        message = refuse(dialect="nova")
        assert "dialect" in message
        assert "'nova'" in message
        assert "cyclades or openstack" in message

    def test_an_unknown_backend(self, refuse):
        message = refuse(backend="no-such")
        assert "backend" in message
        assert "'no-such'" in message
        assert "directory" in message

    def test_an_unknown_catalog(self, refuse):
        message = refuse(catalog="no-such")
        assert "catalog" in message
        assert "'no-such'" in message
        assert "sql" in message

    def test_an_unknown_option_of_the_backend(self, refuse):
        assert "backend.rooot" in refuse(**{"backend.rooot": "/tmp"})

    @pytest.mark.parametrize("name", ["backend.root", "policy_file"])
    def test_a_relative_path(self, refuse, name):
        message = refuse(**{name: "somewhere"})
        assert name in message
        assert "%(here)s" in message

    def test_a_relative_database(self, refuse):
        message = refuse(**{"database.url": "sqlite:///somewhere.db"})
        assert "database.url" in message
        assert "%(here)s" in message

    def test_a_state_directory_that_can_not_be_made(self, refuse, tmp_path):
        (tmp_path / "file").touch()
        message = refuse(var=tmp_path / "file" / "var")
        assert "state and directories" in message  # the demo compute API's, which is made before the filter
        assert str(tmp_path / "file" / "var") in message

    def test_a_database_that_can_not_be_made(self, refuse, tmp_path):
        (tmp_path / "file").touch()
        message = refuse(**{"database.url": f"sqlite:///{tmp_path}/file/registry.db"})
        assert "database.url" in message
        assert f"{tmp_path}/file/registry.db" in message

    def test_a_backend_root_that_can_not_be_made(self, refuse, tmp_path):
        (tmp_path / "file").touch()
        message = refuse(**{"backend.root": tmp_path / "file" / "disks"})
        assert "backend.root" in message
        assert str(tmp_path / "file" / "disks") in message

    def test_a_policy_file_that_is_not_there(self, refuse, tmp_path):
        message = refuse(policy_file=tmp_path / "no-such.yaml")
        assert "policy_file" in message
        assert "no-such.yaml" in message

    def test_a_policy_file_that_can_not_be_read(self, refuse, tmp_path):
        """chmod does not keep root out; a directory does."""
        (tmp_path / "policy.yaml").mkdir()
        assert "policy_file" in refuse(policy_file=tmp_path / "policy.yaml")

    @pytest.mark.parametrize("text", ["[1, 2", "- a list", '"a rule": {', "\x00"])
    def test_a_policy_file_that_is_no_policy(self, refuse, tmp_path, text):
        (tmp_path / "policy.yaml").write_text(text)
        message = refuse(policy_file=tmp_path / "policy.yaml")
        assert "policy_file" in message
        assert "policy.yaml" in message

    def test_a_paste_file_that_is_not_there(self, refuse, tmp_path):
        message = refuse(paste=tmp_path / "no-such.ini")
        assert "--paste" in message
        assert "no-such.ini" in message
