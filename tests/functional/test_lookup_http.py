"""The options that change how servers are looked up: a cheaper path for reads, hosts that callers don't see."""

import pytest

from os_volume_ext.backends.base import ConfigurationError, Server
from os_volume_ext.backends.directory import DirectoryBackend
from os_volume_ext.compute.remote import RemoteComputeAPI
from os_volume_ext.demo.compute import ComputeApplication
from os_volume_ext.errors import ServerMissing
from os_volume_ext.filter import make_filter
from tests.support.sample import backend_class

pytestmark = pytest.mark.one_format
READ_PATH = "/servers/{server_id}/ips"


@pytest.fixture
def requested(monkeypatch):
    """Give the paths that were requested from the compute API."""
    paths = []
    respond = ComputeApplication.respond

    def remember(self, request):
        paths.append(request.path_info)
        return respond(self, request)

    monkeypatch.setattr(ComputeApplication, "respond", remember)
    return paths


@pytest.fixture
def reading(start, paste_file, client_of):
    """Give a client of a sample that looks servers up by their addresses when it only reads."""
    return client_of(start(paste_file(server_read_path=READ_PATH)))


def test_a_read_requests_server_read_path_only(reading, requested):
    reading.list()
    reading.show()
    assert requested == [f"/servers/{reading.dialect.server}/ips"] * 2


def test_a_write_requests_the_server_itself(reading, requested):
    assert reading.attach().status == 200
    assert reading.detach().status == reading.dialect.detach_status
    assert requested == [f"/servers/{reading.dialect.server}"] * 2


def test_with_server_read_path_reads_show_the_same(reading):
    reading.attach()
    shown = reading.shown()
    assert reading.list().attachments == [shown]
    assert reading.show().attachment == shown
    assert reading.by("admin").list().attachments == [shown]


def test_with_server_read_path_another_projects_server_is_missing_still(reading):
    reading.attach()
    other = reading.by("other")
    for response in (other.list(), other.show()):
        assert response.failure == ("itemNotFound", 404)
        assert response.fault.message == f"Server {reading.dialect.server} could not be found."


def test_with_server_read_path_policy_has_the_last_word_by_the_rows_project(start, paste_file, client_of, tmp_path):
    rules = tmp_path / "policy.yaml"
    # Policy allows everything in the caller's project, and nothing in others, although the compute API shows them.
    rules.write_text(
        '"os_compute_api:os-volumes-attachments:index": "project_id:%(project_id)s"\n'
        '"os_compute_api:os-volumes-attachments:show": "project_id:%(project_id)s"\n'
    )
    client = client_of(start(paste_file(server_read_path=READ_PATH, policy_file=str(rules))))
    client.attach()
    admin = client.by("admin")
    assert admin.list().volumes == []
    assert admin.show().failure == ("itemNotFound", 404)


class HostedBackend(DirectoryBackend):
    """A backend that must know where a server runs."""

    needs_host = True


@pytest.fixture
def hosted(start, paste_file):
    """Give ``hosted()``: the sample with such a backend."""
    with backend_class(HostedBackend):
        yield lambda: start(paste_file(**{"compute.url": "http://127.0.0.1:1{base}", "compute.token": "admin-token"}))


def test_a_backend_that_needs_the_host_gets_it_and_the_caller_does_not(hosted, client_of, rows, monkeypatch):
    seen = []
    attach = HostedBackend.attach
    monkeypatch.setattr(
        HostedBackend, "attach", lambda self, server, *more: seen.append(server) or attach(self, server, *more)
    )
    monkeypatch.setattr(
        RemoteComputeAPI,
        "server",
        lambda self, server_id: Server(server_id, "demo", "ACTIVE", host="hypervisor-17", instance_name="i-1"),
    )
    response = client_of(hosted()).attach()
    assert response.status == 200
    assert b"hypervisor" not in response.body
    assert [(server.host, server.instance_name) for server in seen] == [("hypervisor-17", "i-1")]
    assert [(row["host"], row["instance_name"]) for row in rows()] == [("hypervisor-17", "i-1")]


def test_the_host_is_looked_up_after_the_caller_has_seen_the_server_only(hosted, client_of, monkeypatch):
    def look_up(self, server_id):
        pytest.fail("looked up with the operator's credentials what the caller does not see")

    monkeypatch.setattr(RemoteComputeAPI, "server", look_up)
    client = client_of(hosted())
    assert client.attach(server=client.dialect.others_server).failure == ("itemNotFound", 404)


def test_a_server_that_went_meanwhile_is_missing(hosted, client_of, rows, monkeypatch):
    def look_up(self, server_id):
        raise ServerMissing(server_id)

    monkeypatch.setattr(RemoteComputeAPI, "server", look_up)
    assert client_of(hosted()).attach().failure == ("itemNotFound", 404)
    assert rows() == []


def test_a_backend_that_needs_the_host_does_not_start_without_compute_url(tmp_path):
    backend = HostedBackend({"root": str(tmp_path)})
    with pytest.raises(ConfigurationError, match=r"^compute\.url is missing"):
        make_filter(
            lambda environ, start_response: [], backend=backend, **{"database.url": f"sqlite:///{tmp_path}/registry.db"}
        )
