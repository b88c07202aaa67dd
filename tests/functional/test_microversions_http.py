"""Nova's microversions over HTTP, through the sample's whole pipeline."""

import shutil
import uuid

import pytest
from sqlalchemy import insert, update

from os_volume_ext.catalog.sql import SQLCatalog
from os_volume_ext.registry.tables import attachments, utc_now, volumes

pytestmark = pytest.mark.parametrize("dialect", ["openstack"], indirect=True)
only_json = pytest.mark.parametrize("format", ["json"], indirect=True)

BOTH = ["OpenStack-API-Version", "X-OpenStack-Nova-API-Version"]
SHARED = "5ea5ed00-1111-4222-8333-444444444444"  # a multiattach volume


def versions_of(response):
    """Return the versions that a response names."""
    return [response.headers.get(name) for name in BOTH]


def varies(response):
    [line] = response.headers.getall("Vary")
    return set(line.split(", "))


@pytest.fixture
def keeps_volumes(monkeypatch):
    """Let the catalog of the sample be one that can't delete volumes."""
    monkeypatch.setattr(SQLCatalog, "can_delete", False)


class TestHeaders:
    def test_a_response_names_its_version(self, client):
        responses = [client.list(), client.attach(), client.show(), client.detach()]
        assert [versions_of(response) for response in responses] == [["compute 2.1", "2.1"]] * 4
        client = client.at("2.30")
        responses = [client.list(), client.attach(), client.show(), client.detach()]
        assert [versions_of(response) for response in responses] == [["compute 2.30", "2.30"]] * 4
        assert all(varies(response) == {"Accept", "X-Auth-Token", *BOTH} for response in responses)

    @pytest.mark.changes_nothing
    def test_a_fault_names_it_too(self, client):
        client = client.at("2.30")
        unknown = client.by(None)
        faults = [client.show(), client.attach(volume="x"), client.request("PATCH", client.path()), unknown.list()]
        assert [fault.status for fault in faults] == [404, 400, 405, 401]
        assert [versions_of(fault) for fault in faults] == [["compute 2.30", "2.30"]] * 4
        assert all({"Accept", *BOTH} <= varies(fault) for fault in faults)

    @pytest.mark.changes_nothing
    @pytest.mark.parametrize("name", ["2.60", "latest"])
    def test_the_older_header_is_read_too(self, client, name):
        response = client.request("GET", client.path(), headers={BOTH[1]: name})
        assert versions_of(response) == (["compute 2.60", "2.60"] if name == "2.60" else ["compute 2.104", "2.104"])

    @pytest.mark.changes_nothing
    def test_one_that_is_not_spoken_is_not_acceptable(self, client):
        response = client.at("2.105").list()
        assert response.failure == ("computeFault", 406)
        expected = "Version 2.105 is not supported by the API. Minimum is 2.1 and maximum is 2.104."
        assert response.fault.message == expected
        assert versions_of(response) == ["compute 2.105", "2.105"]
        assert varies(response) == {"Accept", "X-Auth-Token", *BOTH}

    @pytest.mark.changes_nothing
    def test_a_malformed_version_is_a_bad_request_and_not_repeated(self, client):
        response = client.at("two\u00b2").list()
        assert response.failure == ("badRequest", 400)
        assert versions_of(response) == [None, None]

    @pytest.mark.changes_nothing
    def test_an_unsupported_one_is_reported_after_method_format_and_token(self, client):
        wrong = client.at("2.105")
        assert wrong.request("PATCH", f"{client.path()}?format=x").status == 405
        assert wrong.request("GET", f"{client.path()}?format=x").status == 400
        assert wrong.by(None).list().failure == ("unauthorized", 401)
        assert wrong.by("reader").attach().status == 406

    def test_the_operator_sets_the_newest_version(self, sample, start, paste_file, client_of, var):
        path = paste_file()
        text = path.read_text().replace(
            "dialect = openstack\ndatabase", "dialect = openstack\nmax_microversion = 2.59\ndatabase"
        )
        assert "max_microversion" in text
        path.write_text(text)
        client = client_of(start(path))
        assert versions_of(client.at("latest").list()) == ["compute 2.59", "2.59"]
        assert client.at("2.60").list().status == 406


@only_json
class TestShelved:
    @pytest.mark.parametrize("state", ["SHELVED", "SHELVED_OFFLOADED"])
    @pytest.mark.parametrize("version", [None, "2.1", "2.19"])
    def test_servers_take_and_give_up_no_volumes_below_2_20(self, client, set_server, version, state):
        client.attach(volume=client.dialect.other_volume)
        set_server(status=state)
        for response in (client.at(version).attach(), client.at(version).detach(volume=client.dialect.other_volume)):
            assert response.failure == client.dialect.conflict
            assert f"while it is in status {state}." in response.fault.message
            assert "Retry-After" not in response.headers
        assert client.list().volumes == [client.dialect.other_volume]

    @pytest.mark.parametrize("version", ["2.20", "2.104"])
    def test_servers_take_and_give_up_volumes_from_2_20_on(self, client, set_server, version):
        set_server(status="SHELVED")
        client = client.at(version)
        assert client.attach().status < 300
        assert client.detach().status == 202

    def test_the_operators_choice_holds_in_every_version(self, start, paste_file, client_of, set_server):
        client = client_of(start(paste_file(server_states="SHELVED")))
        set_server(status="SHELVED")
        assert [client.attach().status, client.detach().status] == [200, 202]
        assert client.at("2.20").attach(client.dialect.other_server).failure == client.dialect.conflict


@only_json
class TestOffloaded:
    @pytest.fixture(autouse=True)
    def _offloaded(self, client, set_server, tables, var):
        with tables() as connection:
            connection.execute(
                insert(volumes).values(id=SHARED, project_id="demo", multiattach=True, created_at=utc_now())
            )
        client.attach(volume=client.dialect.other_volume)
        set_server(status="SHELVED_OFFLOADED")
        shutil.rmtree(var / "openstack" / "servers" / client.dialect.server)

    @pytest.mark.parametrize("version", ["2.20", "2.104"])
    def test_servers_give_up_volumes_from_2_20_on(self, client, version):
        assert client.at(version).detach(volume=client.dialect.other_volume).status == 202
        assert client.list().volumes == []

    @pytest.mark.parametrize("version", ["2.20", "2.104"])
    def test_servers_take_no_volumes_and_the_message_says_why(self, client, version, rows):
        response = client.at(version).attach()
        assert response.failure == ("conflictingRequest", 409)
        assert response.fault.message == (
            f"Cannot attach a volume to server {client.dialect.server}: it has no machine until it is unshelved."
        )
        assert "Retry-After" not in response.headers
        assert len(rows()) == 1

    def test_servers_that_are_being_unshelved_are_a_conflict_that_ends(self, client, set_server):
        set_server(task_state="unshelving")
        client = client.at("2.20")
        for response in (client.attach(), client.detach(volume=client.dialect.other_volume)):
            assert response.failure == ("conflictingRequest", 409)
            assert "the pending task unshelving" in response.fault.message
            assert "Retry-After" in response.headers

    def test_a_tag_and_a_multiattach_volume_are_bad_requests_as_in_nova(self, client, rows):
        client = client.at("2.60")
        for more, what in (({"tag": "x"}, "Tagged volume attachment"), ({"volume": SHARED}, "Attaching multiattach")):
            response = client.attach(**more)
            assert response.failure == ("badRequest", 400)
            assert response.fault.message.startswith(what)
        assert len(rows()) == 1


@only_json
class TestMultiattach:
    @pytest.fixture(autouse=True)
    def _volume(self, sample, tables):
        with tables() as connection:
            connection.execute(
                insert(volumes).values(id=SHARED, project_id="demo", multiattach=True, created_at=utc_now())
            )

    @pytest.mark.parametrize("version", [None, "2.59"])
    def test_a_volume_for_several_servers_is_not_attached_below_2_60(self, client, version):
        response = client.at(version).attach(volume=SHARED)
        assert response.failure == ("badRequest", 400)
        expected = "Multiattach volumes are only supported starting with compute API version 2.60."
        assert response.fault.message == expected
        assert client.list().volumes == []

    def test_a_volume_for_several_servers_is_attached_from_2_60_on(self, client):
        client, other = client.at("2.60"), client.dialect.other_server
        assert [client.attach(volume=SHARED).status, client.attach(other, SHARED).status] == [200, 200]
        assert client.at(None).detach(volume=SHARED).status == 202
        assert client.list(other).volumes == [SHARED]


class TestForms:
    def test_a_tag_is_kept_from_2_49_on_and_shown_from_2_70_on(self, client):
        client = client.at("2.49")
        assert client.attach(tag="mine").attachment == client.shown()
        assert client.show().attachment == client.shown()
        tagged = client.at("2.70").show().attachment
        assert tagged == client.shown() | {"tag": "mine"}
        assert client.at("2.70").list().attachments == [tagged]

    def test_delete_on_termination_is_kept_and_shown_from_2_79_on(self, client):
        client = client.at("2.79")
        yes, no = (client.format.shown({"tag": None, "delete_on_termination": each}) for each in (True, False))
        assert client.attach(delete_on_termination="true").attachment == client.shown() | yes
        assert client.show().attachment == client.shown() | yes
        other = client.dialect.other_volume
        client.attach(volume=other)
        assert client.list().attachments[1] == client.shown(volume=other, device="/dev/vdc") | no

    def test_2_89_shows_an_id_of_the_attachment_that_stays(self, client):
        client = client.at("2.89")
        assert client.attach().attachment["id"] == client.dialect.volume
        shown = client.show().attachment
        assert "id" not in shown
        assert uuid.UUID(shown["attachment_id"]) == uuid.UUID(shown["bdm_uuid"])
        assert client.list().attachments == [shown]
        client.detach()
        client.attach()
        assert client.show().attachment["attachment_id"] != shown["attachment_id"]

    @pytest.mark.changes_nothing
    @pytest.mark.parametrize(("name", "below"), [("tag", "2.48"), ("delete_on_termination", "2.78")])
    def test_members_of_later_versions_are_unknown_before(self, client, name, below):
        response = client.at(below).attach(**{name: "true"})
        assert response.failure == ("badRequest", 400)
        assert response.fault.message == f"The body has the unknown member {name!r}."

    @only_json
    def test_delete_on_termination_is_refused_where_volumes_can_not_be_deleted(self, keeps_volumes, client):
        client = client.at("2.79")
        response = client.attach(delete_on_termination=True)
        assert response.failure == ("badRequest", 400)
        assert "delete_on_termination is not supported" in response.fault.message
        assert client.attach(delete_on_termination=False).status == 200


@pytest.mark.changes_nothing
class TestQueries:
    @pytest.mark.parametrize("version", [None, "2.74"])
    def test_unknown_parameters_are_ignored_below_2_75(self, client, version):
        assert client.at(version).list(marker="9").status == 200

    def test_unknown_parameters_of_a_list_are_refused_from_2_75_on(self, client):
        response = client.at("2.75").list(limit="1", marker="9")
        assert response.failure == ("badRequest", 400)
        assert response.fault.message == "The query has the unknown parameter 'marker'."
        known = {"limit": "1", "offset": "0", "since": "2026-01-01T00:00Z", client.format.name: ""}
        assert client.at("2.75").list(**known).status == 200
        assert client.at("2.75").list(format=client.format.name).status == 200

    def test_unknown_parameters_of_a_show_are_refused_from_2_102_on(self, client):
        dialect = client.dialect
        path = client.path(dialect.rooted, dialect.root_volume)
        statuses = [client.at(version).request("GET", f"{path}?limit=1").status for version in ("2.101", "2.102")]
        assert statuses == [200, 400]
        assert client.at("2.102").request("GET", f"{path}?format={client.format.name}").status == 200


class TestAttach:
    @pytest.mark.parametrize(("version", "status"), [(None, 200), ("2.100", 200), ("2.101", 202), ("latest", 202)])
    def test_from_2_101_on_it_is_202_without_a_body(self, client, version, status):
        response = client.at(version).attach()
        assert response.status == status
        if status == 202:
            assert (response.body, response.headers.get("Content-Type")) == (b"", None)
        else:
            assert response.attachment["volumeId"] == client.dialect.volume
        assert client.list().volumes == [client.dialect.volume]

    @only_json
    def test_its_status_is_the_operators_choice_in_every_version(self, start, paste_file, client_of):
        client = client_of(start(paste_file(attach_status="200"))).at("2.101")
        response = client.attach()
        assert (response.status, response.body) == (200, b"")


class TestPut:
    @pytest.fixture
    def attached(self, client):
        """Give the client at 2.85, with the volume attached."""
        client = client.at("2.85")
        client.attach(tag="mine")
        return client

    def is_to_go(self, client):
        return client.show().attachment["delete_on_termination"] in (True, "true")

    def test_from_2_85_on_it_sets_delete_on_termination(self, attached):
        for text in ("true", "false", "on"):
            response = attached.put(delete_on_termination=text)
            assert (response.status, response.body, response.headers.get("Content-Type")) == (202, b"", None)
            assert self.is_to_go(attached) is (text != "false")
        assert attached.show().attachment["tag"] == "mine"
        assert attached.detach().status == 202

    def test_what_can_not_change_may_be_given_as_it_is(self, attached):
        dialect = attached.dialect
        fixed = {"device": "/dev/vdb", "tag": "mine", "id": dialect.volume, "serverId": dialect.server.upper()}
        assert attached.put(delete_on_termination="true", **fixed).status == 202
        assert self.is_to_go(attached)

    @pytest.mark.parametrize(
        ("name", "value"), [("device", "/dev/vdc"), ("tag", "yours"), ("id", SHARED), ("serverId", SHARED)]
    )
    def test_what_can_not_change_is_refused_otherwise_and_nothing_changes(self, attached, name, value):
        response = attached.put(delete_on_termination="true", **{name: value})
        assert response.failure == ("badRequest", 400)
        assert response.fault.message == f"The {name} property is not mutable."
        assert not self.is_to_go(attached)

    def test_nothing_given_changes_nothing(self, attached):
        before = attached.show().attachment
        assert attached.put().status == 202
        assert attached.show().attachment == before

    @pytest.mark.changes_nothing
    def test_of_what_is_not_attached_is_missing(self, client):
        assert client.at("2.85").put(delete_on_termination="true").failure == ("itemNotFound", 404)
        assert client.at("2.85").put(volume="x", new_volume=client.dialect.volume).failure == ("itemNotFound", 404)
        assert client.by("admin").put().failure == ("itemNotFound", 404)

    @pytest.mark.changes_nothing
    def test_of_anothers_server_is_missing_and_a_reader_may_not(self, client):
        client = client.at("2.85")
        assert client.put(client.dialect.others_server).failure == ("itemNotFound", 404)
        assert client.by("reader").put(delete_on_termination="true").failure == ("forbidden", 403)

    @pytest.mark.changes_nothing
    @pytest.mark.parametrize("version", [None, "2.84", "2.85"])
    def test_needs_a_body(self, client, version):
        path = client.path(volume=client.dialect.volume)
        headers = {"Content-Type": client.format.media_type}
        response = client.by("admin").at(version).request("PUT", path, headers=headers)
        assert response.failure == ("badRequest", 400)

    @pytest.mark.parametrize("version", [None, "2.84", "2.85", "2.104"])
    def test_another_volume_is_for_services_and_administrators_and_for_them_a_conflict(self, client, version):
        client.attach()
        client, other = client.at(version), client.dialect.other_volume
        response = client.put(new_volume=other)
        assert response.failure == ("forbidden", 403)
        response = client.by("admin").put(new_volume=other)
        assert response.failure == ("conflictingRequest", 409)
        assert f"Volume {client.dialect.volume} is not migrating" in response.fault.message
        assert "Retry-After" not in response.headers
        assert client.list().volumes == [client.dialect.volume]

    @pytest.mark.parametrize("version", [None, "2.84"])
    def test_below_2_85_the_same_volume_is_no_exception(self, client, version):
        client.attach()
        client = client.at(version)
        assert client.put().failure == ("forbidden", 403)
        assert client.by("admin").put().failure == ("conflictingRequest", 409)

    @pytest.mark.changes_nothing
    @pytest.mark.parametrize(("version", "name"), [("2.84", "device"), ("2.85", "attachment_id")])
    def test_has_no_other_members(self, client, version, name):
        response = client.by("admin").at(version).put(**{name: "/dev/vdb"})
        assert response.failure == ("badRequest", 400)
        assert response.fault.message == f"The body has the unknown member {name!r}."

    @only_json
    def test_is_refused_where_volumes_can_not_be_deleted(self, keeps_volumes, attached):
        response = attached.put(delete_on_termination=True)
        assert response.failure == ("badRequest", 400)
        assert attached.put(delete_on_termination=False).status == 202

    @only_json
    def test_is_a_conflict_while_the_volume_is_being_detached(self, attached, tables):
        with tables() as connection:
            connection.execute(update(attachments).where(~attachments.c.root).values(state="detaching"))
        response = attached.put(delete_on_termination=True)
        assert response.failure == ("conflictingRequest", 409)
        assert int(response.headers["Retry-After"]) > 0

    @only_json
    def test_a_policy_may_keep_it_from_members_and_leave_them_the_rest(self, start, paste_file, client_of, tmp_path):
        policy = tmp_path / "policy.yaml"
        policy.write_text('"os_compute_api:os-volumes-attachments:update": "rule:admin_api"\n')
        client = client_of(start(paste_file(policy_file=str(policy)))).at("2.85")
        assert client.attach().status == 200
        assert client.put(delete_on_termination=True).failure == ("forbidden", 403)
        assert client.by("admin").put(delete_on_termination=True).status == 202
