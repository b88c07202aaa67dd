"""What becomes of attachments when servers go, processes end, and several work at once."""

import os
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import pytest
from webtest import TestApp

from os_volume_ext.catalog.sql import SQLCatalog
from os_volume_ext.cli.main import main
from os_volume_ext.errors import VolumeAttached

pytestmark = pytest.mark.one_format
# More of them: RACE_ROUNDS=300 pytest ...
ROUNDS = int(os.environ.get("RACE_ROUNDS", "20"))
only_openstack = pytest.mark.parametrize("dialect", ["openstack"], indirect=True)


@pytest.fixture
def create(client):
    """Give ``create()``: the id of a new server, made through the compute API."""

    def post():
        response = client.app.post_json(
            f"{client.dialect.base}/servers", {"server": {"name": "passing"}}, headers={"X-Auth-Token": "demo-token"}
        )
        return str(response.json["server"]["id"])

    return post


@pytest.fixture
def delete(client, var):
    """Give ``delete(server)``: delete it through the compute API, see that its directory goes with it."""

    def send(server):
        directory = var / client.dialect.name / "servers" / server
        assert directory.is_dir()
        response = client.app.delete(f"{client.dialect.base}/servers/{server}", headers={"X-Auth-Token": "demo-token"})
        assert response.status_int == 204
        assert not directory.exists()

    return send


@pytest.fixture
def disks(client, var):
    """Give ``disks(server)``: the volumes that the backend really has at a server, by device."""

    def read(server):
        directory = var / client.dialect.name / "servers" / server
        return {f"/dev/{link.name}": link.readlink().name for link in directory.iterdir() if link.is_symlink()}

    return read


class TestDeletedServers:
    def test_a_new_server_takes_a_volume(self, client, create, disks):
        server = create()
        assert client.attach(server).attachment == client.shown(server)
        assert disks(server) == {"/dev/vdb": client.dialect.volume}

    def test_the_volume_of_a_deleted_server_can_be_attached_elsewhere(self, client, create, delete, rows, disks):
        server = create()
        client.attach(server)
        delete(server)
        assert client.attach().attachment == client.shown()
        assert [(row["server_id"], row["state"]) for row in rows()] == [(client.dialect.server, "attached")]
        assert disks(client.dialect.server) == {"/dev/vdb": client.dialect.volume}

    def test_the_log_tells_of_the_row_that_went(self, client, create, delete, caplog):
        server = create()
        client.attach(server)
        delete(server)
        response = client.attach()
        assert (
            "os_volume_ext.attachments.reservations",
            "WARNING",
            f"{response.headers['X-Openstack-Request-Id']} volume {client.dialect.volume} was attached to server "
            f"{server}, which is deleted: attachment removed",
        ) in [(record.name, record.levelname, record.getMessage()) for record in caplog.records]

    def test_a_detach_from_a_deleted_server_succeeds(self, client, create, delete, rows):
        server = create()
        client.attach(server)
        delete(server)
        response = client.detach(server)
        assert (response.status, response.body) == (client.dialect.detach_status, b"")
        assert rows() == []
        assert client.detach(server).failure == ("itemNotFound", 404)

    def test_another_project_does_not_detach_there(self, client, create, delete, rows):
        server = create()
        client.attach(server)
        delete(server)
        response = client.by("other").detach(server)
        assert response.failure == ("itemNotFound", 404)
        assert response.fault.message == f"Server {server} could not be found."
        assert len(rows()) == 1

    def test_a_deleted_server_shows_no_attachments(self, client, create, delete):
        server = create()
        client.attach(server)
        delete(server)
        assert client.list(server).failure == ("itemNotFound", 404)
        assert client.show(server).failure == ("itemNotFound", 404)

    def test_a_volume_stays_where_the_backend_still_has_it(self, client, create, delete, var, rows):
        """On the compute API's word alone no disk is given away."""
        server = create()
        client.attach(server)
        directory = var / client.dialect.name / "servers" / server
        directory.rename(var / "aside")
        directory.mkdir()
        delete(server)
        (var / "aside").rename(directory)
        assert client.attach().failure == client.dialect.in_use
        assert [row["server_id"] for row in rows()] == [server]


class QuietHandler(WSGIRequestHandler):
    def log_message(self, *arguments):
        pass


class ThreadingServer(ThreadingMixIn, WSGIServer):
    daemon_threads = True


@pytest.fixture
def served(sample):
    """Give the port of the sample, served by another thread."""
    with make_server("127.0.0.1", 0, sample.app, ThreadingServer, QuietHandler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


@pytest.fixture
def command(var, client, paste_file, capsys):
    """Give ``command(*words)``: the exit status and the output of ``os-volume-ext`` for the client's dialect."""

    def run(*words, paste=None):
        capsys.readouterr()
        where = ["--paste", str(paste or paste_file()), "--var", str(var)]
        status = main([*words, *where, "--filter", f"volumes_{client.dialect.name}"])
        return status, capsys.readouterr()

    return run


class TestReconcile:
    @pytest.fixture
    def reconcile(self, served, command, paste_file):
        paste = paste_file(**{"compute.url": f"http://127.0.0.1:{served}{{base}}"})
        return lambda *words: command("reconcile", *words, paste=paste)

    def test_removes_the_row_of_a_deleted_server(self, client, create, delete, rows, reconcile):
        server = create()
        client.attach(server)
        client.attach(volume=client.dialect.other_volume)
        delete(server)
        status, output = reconcile("--all")
        assert (status, output.err) == (
            0,
            "2 consistent, 1 repaired, 0 unresolved\n",
        )  # the root volume's is the second
        assert "the server is deleted: row removed" in output.out
        assert [row["server_id"] for row in rows()] == [client.dialect.server]

    @only_openstack
    def test_deletes_the_volume_of_a_deleted_server_that_was_to_go_with_it(self, client, create, delete, reconcile):
        server, client = create(), client.at("2.79")
        client.attach(server, delete_on_termination=True)
        client.attach(server, client.dialect.other_volume)
        delete(server)
        status, output = reconcile("--all")
        assert status == 0
        assert "the server is deleted: row removed, volume deleted (delete_on_termination)" in output.out
        assert client.attach().failure == ("itemNotFound", 404)
        assert client.attach(volume=client.dialect.other_volume).status == 200

    def test_leaves_a_deleted_servers_row_alone_without_all(self, client, create, delete, rows, reconcile):
        server = create()
        client.attach(server)
        delete(server)
        status, output = reconcile()
        assert (status, output.err) == (0, "0 consistent, 0 repaired, 0 unresolved\n")
        assert [row["server_id"] for row in rows()] == [server]

    def test_finds_that_all_agree(self, client, reconcile):
        client.attach()
        status, output = reconcile("--all")
        assert (status, output.err) == (0, "2 consistent, 0 repaired, 0 unresolved\n")

    def test_attaches_again_what_is_not_there(self, client, var, rows, disks, reconcile):
        client.attach()
        (var / client.dialect.name / "servers" / client.dialect.server / "vdb").unlink()
        status, output = reconcile("--all")
        assert (status, output.err) == (0, "1 consistent, 1 repaired, 0 unresolved\n")
        assert disks(client.dialect.server) == {"/dev/vdb": client.dialect.volume}
        assert [row["state"] for row in rows()] == ["attached"]

    def test_names_an_unmanaged_disk(self, client, var, disks, reconcile):
        client.attach(volume=client.dialect.other_volume)
        directory = var / client.dialect.name / "servers" / client.dialect.server
        (directory / "vdq").symlink_to(f"../../volumes/{client.dialect.volume}")
        status, output = reconcile("--all")
        assert (status, output.err) == (1, "2 consistent, 0 repaired, 1 unresolved\n")
        assert "/dev/vdq" in output.out
        assert disks(client.dialect.server)["/dev/vdq"] == client.dialect.volume

    def test_credentials_that_do_not_see_all_projects_remove_nothing(
        self, client, served, command, paste_file, rows, var
    ):
        """A token that has lost its role gets 404 for the servers of other projects."""
        client.attach()
        (var / client.dialect.name / "servers" / client.dialect.server / "vdb").unlink()
        url = f"http://127.0.0.1:{served}{{base}}"
        paste = paste_file(**{"compute.url": url, "compute.token": "other-token"})
        status, output = command("reconcile", "--all", paste=paste)
        assert status == 1
        assert "nor that it shows the servers of all projects" in output.out
        assert [row["state"] for row in rows()] == ["attached"]

    def test_names_the_row_of_a_server_whose_id_is_another_projects_now(self, client, set_server, rows, reconcile):
        client.attach()
        set_server(project_id="other")
        status, output = reconcile("--all")
        assert status == 1
        assert "the server belongs to project other, the attachment to project demo" in output.out
        assert [row["state"] for row in rows()] == ["attached"]

    def test_is_unresolved_while_the_compute_api_does_not_respond(
        self, client, rows, create, delete, command, paste_file
    ):
        server = create()
        client.attach(server)
        delete(server)
        paste = paste_file(**{"compute.url": "http://127.0.0.1:1{base}"})
        status, output = command("reconcile", "--all", paste=paste)
        assert status == 1
        assert "unresolved" in output.out
        assert [row["server_id"] for row in rows()] == [server]


class TestServersThatTheCallerDoesNotSee:
    """The row is demo's, and the server has become another project's: demo's users get 404 for it."""

    @pytest.fixture
    def asking(self, served, start, paste_file, client_of):
        """Give a client of a sample that asks the compute API as one who sees all servers."""
        return client_of(start(paste_file(**{"compute.url": f"http://127.0.0.1:{served}{{base}}"})))

    @pytest.fixture(params=["with compute.url", "without"])
    def hidden(self, request, client, set_server):
        """Give a client for which the server of an attachment is hidden."""
        client.attach()
        set_server(project_id="other")
        return request.getfixturevalue("asking") if request.param == "with compute.url" else client

    def test_a_detach_is_404_and_the_disk_stays(self, hidden, disks):
        assert hidden.detach().failure == ("itemNotFound", 404)
        assert disks(hidden.dialect.server) == {"/dev/vdb": hidden.dialect.volume}

    def test_an_attach_elsewhere_finds_the_volume_in_use(self, hidden, disks):
        assert hidden.attach(hidden.dialect.other_server).failure == hidden.dialect.in_use
        assert disks(hidden.dialect.server) == {"/dev/vdb": hidden.dialect.volume}

    def test_the_new_owner_neither_sees_nor_detaches_the_volume(self, hidden, disks):
        owner = hidden.by("other")
        assert owner.list().volumes == []
        assert owner.show().failure == ("itemNotFound", 404)
        assert owner.detach().failure == ("itemNotFound", 404)
        assert disks(hidden.dialect.server) == {"/dev/vdb": hidden.dialect.volume}

    def test_a_detach_from_a_server_that_is_gone_is_still_done(self, asking, create, delete, rows):
        server = create()
        asking.attach(server)
        delete(server)
        assert asking.detach(server).status == asking.dialect.detach_status
        assert rows() == []


class TestServersThatAreShownAsDeleted:
    """As Cyclades shows them."""

    @pytest.fixture(autouse=True)
    def _deleted(self, client, create, var, set_server):
        self.server = create()
        assert client.attach(self.server).status == 200
        shutil.rmtree(var / client.dialect.name / "servers" / self.server)
        set_server(self.server, status="DELETED")

    def test_their_volumes_can_be_attached_elsewhere(self, client, rows):
        assert client.attach().attachment == client.shown()
        assert [row["server_id"] for row in rows()] == [client.dialect.server]

    def test_their_volumes_can_be_detached(self, client, rows):
        assert client.detach(self.server).status == client.dialect.detach_status
        assert rows() == []

    def test_reconcile_removes_their_rows(self, served, command, paste_file, rows):
        paste = paste_file(**{"compute.url": f"http://127.0.0.1:{served}{{base}}"})
        assert command("reconcile", "--all", paste=paste)[0] == 0
        assert rows() == []

    def test_nothing_is_attached_to_them(self, client):
        assert client.attach(self.server, client.dialect.other_volume).failure == client.dialect.conflict


class TestServersThatOnlyTheBackendHasLost:
    def test_a_detach_is_a_conflict_and_the_attachment_stays(self, client, var):
        client.attach()
        shutil.rmtree(var / client.dialect.name / "servers" / client.dialect.server)
        for _ in range(2):
            response = client.detach()
            assert response.failure == client.dialect.conflict
            assert "the backend has no such server" in response.fault.message
            assert client.show().status == 200


NEW_VOLUMES = {"cyclades": "7", "openstack": "7f1d2c3b-0000-4000-8000-000000000007"}


class TestCommandsBesideTheFilter:
    def test_a_new_volume_can_be_attached_at_once(self, client, command):
        volume = NEW_VOLUMES[client.dialect.name]
        assert client.attach(volume=volume).failure == ("itemNotFound", 404)
        assert command("volume", "create", volume, "--project", "demo")[0] == 0
        assert client.attach(volume=volume).attachment == client.shown(volume=volume)

    def test_another_projects_new_volume_can_not(self, client, command):
        volume = NEW_VOLUMES[client.dialect.name]
        assert command("volume", "create", volume, "--project", "other")[0] == 0
        assert client.attach(volume=volume).failure == ("itemNotFound", 404)

    def test_a_multiattach_volume_can_be_attached_twice(self, client, command):
        dialect = client.dialect
        volume = NEW_VOLUMES[dialect.name]
        command("volume", "create", volume, "--project", "demo", "--multiattach")
        client = client.at("2.60")  # which means nothing in the cyclades dialect
        assert client.attach(volume=volume).status == 200
        assert client.attach(dialect.other_server, volume).status == 200
        assert client.detach(volume=volume).status == dialect.detach_status
        assert client.list(dialect.other_server).volumes == [volume]

    def test_an_attached_volume_is_not_deleted(self, client, command):
        client.attach()
        status, output = command("volume", "delete", client.dialect.volume)
        assert status == 1
        assert f"Volume {client.dialect.volume} is attached. Detach it first." in output.err
        client.detach()
        assert command("volume", "delete", client.dialect.volume)[0] == 0
        assert client.attach().failure == ("itemNotFound", 404)

    def test_the_commands_see_what_was_attached(self, client, command):
        response = client.attach()
        status, output = command("attachment", "show", client.dialect.server, client.dialect.volume, "-f", "value")
        assert status == 0
        assert response.headers["X-Openstack-Request-Id"] in output.out.splitlines()


class TestRestart:
    def test_a_second_start_finds_what_the_first_attached(self, client, start, client_of):
        client.attach()
        again = client_of(start())
        assert again.list().attachments == [client.shown()]
        assert again.attach(client.dialect.other_server).failure == client.dialect.in_use
        assert again.detach().status == client.dialect.detach_status
        assert client.list().attachments == []

    def test_a_second_start_brings_nothing_back(self, client, create, delete, start, client_of):
        """The sample's data is put in once."""
        server = create()
        delete(client.dialect.other_server)
        again = client_of(start())
        assert again.list(server).status == 200
        assert again.list(client.dialect.other_server).status == 404

    def test_an_empty_directory_is_filled(self, tmp_path, client_of, start, var):
        var.rename(tmp_path / "aside")
        client = client_of(start())
        assert client.attach().attachment == client.shown()
        assert client.show(client.dialect.rooted, client.dialect.root_volume).status == 200


class TestAtOnce:
    def at_once(self, *operations):
        """Begin the operations at the same moment; return their responses."""
        barrier = threading.Barrier(len(operations))

        def begin(operation):
            barrier.wait()
            return operation()

        with ThreadPoolExecutor(len(operations)) as threads:
            return list(threads.map(begin, operations))

    @pytest.mark.parametrize("_", range(5))
    def test_of_attaches_of_one_volume_exactly_one_succeeds(self, client, rows, disks, _):
        dialect = client.dialect
        servers = [dialect.server, dialect.other_server] * 2
        responses = self.at_once(*(lambda server=server: client.attach(server) for server in servers))
        succeeded = [server for server, response in zip(servers, responses, strict=True) if response.status == 200]
        assert len(succeeded) == 1
        refused = {response.failure for response in responses if response.status != 200}
        assert refused <= {dialect.in_use, dialect.conflict}
        assert [row["server_id"] for row in rows()] == succeeded
        found = {server: list(disks(server).values()) for server in (dialect.server, dialect.other_server)}
        assert found == {server: [dialect.volume] * (server in succeeded) for server in found}

    def test_attaches_of_two_volumes_get_two_devices(self, client, disks):
        dialect = client.dialect
        responses = self.at_once(client.attach, lambda: client.attach(volume=dialect.other_volume))
        assert [response.status for response in responses] == [200, 200]
        assert sorted(disks(dialect.server)) == ["/dev/vdb", "/dev/vdc"]

    def test_of_detaches_none_fails_but_as_a_second_one_may(self, client, disks):
        dialect = client.dialect
        client.attach()
        responses = self.at_once(*[client.detach] * 4)
        done = [response for response in responses if response.status == dialect.detach_status]
        assert done
        others = {response.failure for response in responses if response.status != dialect.detach_status}
        assert others <= {("itemNotFound", 404), dialect.conflict}
        assert disks(dialect.server) == {}

    @pytest.mark.parametrize("dialect", ["openstack"], indirect=True)
    def test_of_two_that_ask_for_one_device_exactly_one_gets_it(self, client):
        volumes = [client.dialect.volume, client.dialect.other_volume]
        responses = self.at_once(
            *(lambda volume=volume: client.attach(volume=volume, device="/dev/vdq") for volume in volumes)
        )
        assert sorted(response.status for response in responses) == [200, 409]

    def test_two_processes_of_the_filter_share_one_truth(self, client, start, client_of):
        other = client_of(TestApp(start().app))
        responses = self.at_once(client.attach, lambda: other.attach(client.dialect.other_server))
        assert sorted(response.status == 200 for response in responses) == [False, True]

    @only_openstack
    def test_an_attach_and_a_volume_delete_do_not_both_succeed(self, client, urls, make_database, rows):
        catalog = SQLCatalog({}, make_database(urls[client.dialect.name]))
        volume = catalog.get(client.dialect.volume)

        def delete():
            try:
                catalog.delete(volume_id=volume.id)
            except VolumeAttached:
                return False
            return True

        for _ in range(ROUNDS):
            attached, is_deleted = self.at_once(client.attach, delete)
            assert (attached.status, is_deleted) in ((200, False), (404, True))
            assert len([row for row in rows() if not row["root"]]) == (not is_deleted)
            if is_deleted:
                catalog.create(volume)
            else:
                assert client.detach().status == client.dialect.detach_status
