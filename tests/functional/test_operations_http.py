"""Attach, show, list and detach over HTTP, through the sample's whole pipeline."""

import datetime
import logging
import re
from urllib.parse import quote

import pytest
from sqlalchemy import update
from webtest import TestApp

from os_volume_ext.filter import make_filter
from os_volume_ext.registry.tables import attachments, utc_now
from tests.support.sample import close_later

only_cyclades = pytest.mark.parametrize("dialect", ["cyclades"], indirect=True)
only_openstack = pytest.mark.parametrize("dialect", ["openstack"], indirect=True)
only_json = pytest.mark.parametrize("format", ["json"], indirect=True)
only_xml = pytest.mark.parametrize("format", ["xml"], indirect=True)

REQUEST_ID = re.compile(r"req-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
IDENTITY_HEADERS = {
    "X-Identity-Status": "Confirmed",
    "X-User-Id": "user-demo",
    "X-Project-Id": "demo",
    "X-Roles": "admin,member,reader",
    "X-Service-Roles": "service",
    "X-Domain-Id": "default",
    "X-User-Domain-Id": "default",
    "X-Project-Domain-Id": "default",
    "OpenStack-System-Scope": "all",
    "Keystone.Token-Info": "{}",
}


def is_attached(client, server=None, volume=None):
    return client.show(server, volume).status == 200


class TestAttach:
    def test_returns_200_with_the_attachment(self, client):
        response = client.attach()
        assert (response.status, response.attachment) == (200, client.shown())

    @only_cyclades
    @only_json
    def test_returns_the_document_of_the_specification(self, client):
        assert client.attach().body == b'{"volumeAttachment": {"device": "", "serverId": 1134, "id": 9, "volumeId": 9}}'

    @only_openstack
    @only_json
    def test_returns_the_document_of_nova(self, client):
        assert client.attach().body == (
            b'{"volumeAttachment": {"device": "/dev/vdb", "serverId": "4335bab6-6086-4247-8274-8b8b048edaaa", '
            b'"id": "a26887c6-c47b-4654-abb5-dfadf7d3f803", "volumeId": "a26887c6-c47b-4654-abb5-dfadf7d3f803"}}'
        )

    @only_cyclades
    @only_xml
    def test_returns_one_element_without_a_namespace_in_xml(self, client):
        assert client.attach().body.endswith(b'\n<volumeAttachment device="" serverId="1134" id="9" volumeId="9"/>')

    def test_a_second_volume_is_attached_beside_the_first(self, client):
        client.attach()
        device = {"cyclades": "", "openstack": "/dev/vdc"}[client.dialect.name]
        response = client.attach(volume=client.dialect.other_volume)
        assert response.attachment == client.shown(volume=client.dialect.other_volume, device=device)
        assert client.list().volumes == [client.dialect.volume, client.dialect.other_volume]

    def test_a_namespace_in_the_request_changes_nothing(self, client):
        body = client.format.request(client.dialect.volume).replace(
            b"<volumeAttachment", b'<volumeAttachment xmlns="http://docs.openstack.org/compute/api/v1.1"'
        )
        assert client.request("POST", client.path(), body).attachment == client.shown()

    def test_a_volume_that_is_detached_can_be_attached_elsewhere(self, client):
        client.attach()
        client.detach()
        response = client.attach(client.dialect.other_server)
        assert (response.status, response.attachment) == (200, client.shown(client.dialect.other_server))


class TestShow:
    def test_returns_what_the_attach_returned(self, client):
        attached = client.attach()
        response = client.show()
        assert (response.status, response.body) == (200, attached.body)

    def test_a_volume_that_is_attached_elsewhere_is_not_found(self, client):
        client.attach(client.dialect.other_server)
        assert client.show().failure == ("itemNotFound", 404)

    def test_the_root_volume_is_shown(self, client):
        dialect = client.dialect
        device = {"cyclades": "", "openstack": "/dev/vda"}[dialect.name]
        assert client.show(dialect.rooted, dialect.root_volume).attachment == client.shown(
            dialect.rooted, dialect.root_volume, device
        )


class TestList:
    def test_a_server_without_attachments_has_an_empty_list(self, client):
        response = client.list()
        assert (response.status, response.attachments) == (200, [])

    @only_json
    def test_the_empty_list_is_a_document_too(self, client):
        assert client.list().body == b'{"volumeAttachments": []}'

    @only_xml
    def test_the_empty_list_is_one_element_in_xml(self, client):
        assert client.list().body.endswith(b"\n<volumeAttachments/>")

    @only_cyclades
    @only_json
    def test_is_the_very_document_of_the_specification(self, client):
        client.attach(volume="9")
        client.attach(volume="99")
        assert client.list().body == (
            b'{"volumeAttachments": [{"device": "", "serverId": 1134, "id": 9, "volumeId": 9}, '
            b'{"device": "", "serverId": 1134, "id": 99, "volumeId": 99}]}'
        )

    def test_holds_the_servers_own_attachments_only(self, client):
        client.attach()
        client.attach(client.dialect.other_server, client.dialect.other_volume)
        assert client.list().attachments == [client.shown()]

    def test_is_oldest_first_whatever_the_ids(self, client):
        newest_first = [client.dialect.other_volume, client.dialect.volume]
        for volume in newest_first:
            client.attach(volume=volume)
        assert client.list().volumes == newest_first

    def test_a_volume_attached_again_is_the_newest(self, client):
        client.attach()
        client.attach(volume=client.dialect.other_volume)
        client.detach()
        client.attach()
        assert client.list().volumes == [client.dialect.other_volume, client.dialect.volume]


class TestDetach:
    def test_returns_an_empty_body(self, client):
        client.attach()
        response = client.detach()
        assert (response.status, response.body) == (client.dialect.detach_status, b"")
        assert client.list().attachments == []

    def test_a_response_without_a_body_has_no_content_type(self, client):
        client.attach()
        response = client.detach()
        assert response.headers["Content-Length"] == "0"
        assert "Content-Type" not in response.headers

    def test_the_second_one_is_not_found(self, client):
        client.attach()
        client.detach()
        assert client.detach().failure == ("itemNotFound", 404)

    def test_of_one_volume_leaves_the_other_attached(self, client):
        client.attach()
        client.attach(volume=client.dialect.other_volume)
        client.detach()
        assert client.list().volumes == [client.dialect.other_volume]

    def test_of_a_volume_that_is_attached_elsewhere_leaves_it_there(self, client):
        client.attach(client.dialect.other_server)
        assert client.detach().failure == ("itemNotFound", 404)
        assert is_attached(client, client.dialect.other_server)


class TestStatuses:
    @pytest.mark.parametrize("attach_status", [200, 202])
    @pytest.mark.parametrize("detach_status", [200, 202])
    @only_json
    def test_of_attach_and_detach_are_the_operators_choice(
        self, start, paste_file, client_of, attach_status, detach_status
    ):
        client = client_of(start(paste_file(attach_status=str(attach_status), detach_status=str(detach_status))))
        assert (client.attach().status, client.detach().status) == (attach_status, detach_status)


class TestHeaders:
    def every_response(self, client):
        """Give a response of each operation, and faults."""
        yield client.attach()
        yield client.show()
        yield client.list()
        yield client.detach()
        yield client.show()
        yield client.request("PUT", client.path())
        yield client.by(None).list()

    def test_each_response_has_one_unique_request_id(self, client):
        ids = [response.headers.getall("X-Openstack-Request-Id") for response in self.every_response(client)]
        assert [len(each) for each in ids] == [1] * 7
        assert len({each[0] for each in ids}) == 7
        assert all(REQUEST_ID.fullmatch(each[0]) for each in ids)

    def test_the_charset_is_named(self, client):
        expected = f"{client.format.media_type}; charset=UTF-8"
        with_body = [response for response in self.every_response(client) if response.body]
        assert [response.headers["Content-Type"] for response in with_body] == [expected] * 6

    def test_no_cache_stores_a_response(self, client):
        for response in self.every_response(client):
            [varies] = response.headers.getall("Vary")
            assert varies.startswith("Accept, X-Auth-Token")
            assert response.headers["Cache-Control"] == "no-cache, no-store, must-revalidate"

    @only_cyclades
    def test_cyclades_has_one_version_and_speaks_of_none(self, client):
        client.attach()
        for response in (client.at("2.105").list(), client.at("two").show(), client.at("latest").detach()):
            assert response.status == 200
            assert response.headers.getall("Vary") == ["Accept, X-Auth-Token"]
            assert not [name for name in response.headers if "Version" in name]

    def test_the_length_is_the_bodys(self, client):
        for response in self.every_response(client):
            assert response.headers["Content-Length"] == str(len(response.body))


@pytest.mark.changes_nothing
class TestLengths:
    """What a client without a token can send is not parsed where it is long."""

    @pytest.mark.parametrize("user", [None, "demo"])
    def test_a_very_long_query_is_400_with_and_without_a_token(self, client, user):
        for path in (client.path(), client.path(volume=client.dialect.volume)):
            response = client.by(user).request("GET", f"{path}?{'a=1&' * 62_500}")
            assert response.failure == ("badRequest", 400)
            assert response.fault.message == "The query string must have at most 2048 characters."

    def test_a_very_long_query_for_the_extensions_is_no_error(self, client):
        base = client.path().partition("/servers/")[0]
        path = f"{base}/extensions/os-volumes?{'a=1&' * 62_500}"
        assert client.request("GET", path).status == 200

    def test_very_long_headers_do_not_keep_a_client_without_a_token_from_a_401(self, client):
        headers = {"Accept": "a/b," * 60_000, "OpenStack-API-Version": "compute 2.1," * 20_000}
        assert client.by(None).request("GET", client.path(), headers=headers).failure == ("unauthorized", 401)

    def test_very_long_ids_are_not_found(self, client):
        for character in ("1", "%C3%A9"):
            response = client.request("GET", client.path(character * 50_000))
            assert response.failure == ("itemNotFound", 404)
            assert len(response.body) < 5000


class TestRequestId:
    def test_the_row_has_the_request_id_of_the_response(self, client, rows):
        response = client.attach()
        assert [row["request_id"] for row in rows()] == [response.headers["X-Openstack-Request-Id"]]

    def test_the_log_has_one_line_for_an_attach_and_one_for_a_detach(self, client, caplog):
        caplog.set_level(logging.INFO, "os_volume_ext")
        attached, detached = client.attach(), client.detach()
        device = "/dev/vdb"  # the backend's own word, whatever the dialect shows of it
        for response, action, record in zip((attached, detached), ("attach", "detach"), caplog.records, strict=True):
            assert (record.name, record.levelname) == ("os_volume_ext.observers.log", "INFO")
            assert re.fullmatch(
                f"{response.headers['X-Openstack-Request-Id']} {action}: volume {client.dialect.volume}, "
                rf"server {client.dialect.server}, project demo, device {device!r}, \d+ ms: done",
                record.getMessage(),
            )

    def test_an_attach_that_failed_is_logged_as_an_operation_and_as_a_request(self, client, caplog):
        client.attach()
        caplog.set_level(logging.INFO, "os_volume_ext")
        response = client.attach(client.dialect.other_server)
        request_id = response.headers["X-Openstack-Request-Id"]
        operation, request = caplog.records
        assert (operation.name, operation.levelname) == ("os_volume_ext.observers.log", "INFO")
        assert re.fullmatch(
            f"{request_id} attach: volume {client.dialect.volume}, server {client.dialect.other_server}, "
            r"project demo, device None, \d+ ms: volume_in_use",
            operation.getMessage(),
        )
        assert (request.name, request.levelname) == ("os_volume_ext.api.resource", "INFO")
        assert request.getMessage() == (
            f"{request_id} 'POST' '/servers/{client.dialect.other_server}/os-volume_attachments': 400: "
            f"volume_in_use: 'Volume {client.dialect.volume} is attached to server {client.dialect.server}.'"
        )

    def test_the_log_has_one_line_for_an_attach_whose_body_makes_no_sense(self, client, caplog):
        caplog.set_level(logging.INFO, "os_volume_ext")
        response = client.attach(volume="none")
        (record,) = caplog.records
        assert (record.name, record.levelname) == ("os_volume_ext.api.resource", "INFO")
        assert record.getMessage().startswith(f"{response.headers['X-Openstack-Request-Id']} 'POST' ")
        assert ": 400: bad_request: " in record.getMessage()

    def test_the_log_has_a_fault_under_the_request_id_of_the_response(self, client, caplog):
        with caplog.at_level(logging.INFO, "os_volume_ext"):
            response = client.show()
        messages = [record.getMessage() for record in caplog.records if record.name == "os_volume_ext.api.resource"]
        request_id = response.headers["X-Openstack-Request-Id"]
        assert [message.split()[0] for message in messages] == [request_id]
        assert ": 404: " in messages[0]

    def test_neither_the_token_nor_the_body_is_logged(self, client, caplog):
        with caplog.at_level(logging.DEBUG):
            client.attach(spare="not to be logged")
            client.by("forged-secret").list()
        assert "-token" not in caplog.text
        assert "not to be logged" not in caplog.text

    @only_json
    def test_without_an_outer_filter_it_is_our_own(self, tmp_path, client_of):
        response = client_of(bare(tmp_path)).request("GET", "/servers/1134/os-volume_attachments")
        assert response.status == 401
        assert REQUEST_ID.fullmatch(response.headers["X-Openstack-Request-Id"])


class TestHead:
    @pytest.fixture
    def paths(self, client):
        client.attach()
        return [client.path(), client.path(volume=client.dialect.volume)]

    def test_returns_the_headers_of_get_without_the_body(self, client, paths):
        for path in paths:
            head, get = client.request("HEAD", path), client.request("GET", path)
            assert (head.status, head.body) == (200, b"")
            assert head.lasting()[1] == get.lasting()[1]

    def test_of_what_is_not_there_is_404(self, client):
        response = client.request("HEAD", client.path(volume=client.dialect.volume))
        assert (response.status, response.body) == (404, b"")


class TestOtherMethods:
    def refused(self, client, method, path, allow):
        response = client.request(method, path)
        assert response.status == 405
        assert response.headers["Allow"] == allow
        assert response.failure == (client.dialect.bad_method, 405)

    @pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"])
    def test_on_the_list_are_405_with_those_that_are_allowed(self, client, method):
        client.attach()
        self.refused(client, method, client.path(), "GET, HEAD, POST")
        assert is_attached(client)

    @pytest.mark.parametrize("method", ["PATCH", "POST", "OPTIONS", "TRACE"])
    def test_on_one_attachment_are_405_with_those_that_are_allowed(self, client, method):
        client.attach()
        self.refused(client, method, client.path(volume=client.dialect.volume), client.dialect.member_methods)
        assert is_attached(client)

    @pytest.mark.parametrize("method", ["get", "delete", "BREW"])
    @only_json
    @pytest.mark.filterwarnings("ignore:Unknown REQUEST_METHOD")
    def test_methods_are_case_sensitive_and_may_be_unknown(self, client, method):
        client.attach()
        self.refused(client, method, client.path(volume=client.dialect.volume), client.dialect.member_methods)
        assert is_attached(client)

    @only_cyclades
    def test_put_is_405_in_the_cyclades_dialect(self, client):
        path = client.path(client.dialect.rooted, client.dialect.root_volume)
        response = client.request("PUT", path, client.format.request(client.dialect.volume))
        assert response.failure == (client.dialect.bad_method, 405)


class TestPaths:
    def test_a_trailing_slash_changes_nothing(self, client):
        response = client.request("POST", client.path() + "/", client.format.request(client.dialect.volume))
        assert response.attachment == client.shown()
        assert client.request("GET", client.path() + "/").attachments == [client.shown()]
        path = client.path(volume=client.dialect.volume) + "/"
        assert client.request("GET", path).attachment == client.shown()
        assert client.request("DELETE", path).status == client.dialect.detach_status
        assert client.list().attachments == []

    @pytest.mark.parametrize("ending", ["json", "xml"])
    def test_an_ending_names_the_format(self, client, ending):
        response = client.request("POST", f"{client.path()}.{ending}", client.format.request(client.dialect.volume))
        assert (response.status, response.format.name) == (200, ending)
        response = client.request("GET", f"{client.path()}.{ending}")
        assert (response.status, response.format.name, response.volumes) == (200, ending, [client.dialect.volume])
        path = f"{client.path(volume=client.dialect.volume)}.{ending}"
        response = client.request("GET", path)
        assert (response.status, response.format.name) == (200, ending)
        assert str(response.attachment["volumeId"]) == client.dialect.volume
        assert client.request("DELETE", path).status == client.dialect.detach_status
        assert client.list().attachments == []

    def test_a_project_may_stand_before_the_servers(self, client):
        path = client.path().replace("/servers/", "/demo/servers/")
        response = client.request("POST", path, client.format.request(client.dialect.volume))
        assert response.attachment == client.shown()
        assert client.request("GET", path).attachments == [client.shown()]
        assert client.request("GET", f"{path}/{client.dialect.volume}").attachment == client.shown()
        assert client.request("DELETE", f"{path}/{client.dialect.volume}").status == client.dialect.detach_status

    def test_another_project_there_is_refused_in_the_compute_apis_words(self, client):
        response = client.request("GET", client.path().replace("/servers/", "/other/servers/"))
        assert response.failure == ("badRequest", 400)
        assert response.fault.message == (
            "Malformed request URL: URL's project_id 'other' doesn't match Context's project_id 'demo'"
        )

    @pytest.mark.parametrize("suffix", ["x", "/9/9", "/9/9/", ".yaml"])
    @only_cyclades
    @only_json
    @pytest.mark.changes_nothing
    def test_what_only_begins_as_ours_is_the_hosts(self, client, suffix):
        response = client.request("GET", client.path() + suffix)
        assert response.status == 404
        assert response.headers["Content-Type"] == "application/json"  # the demo compute API's; ours has a charset


class TestPaging:
    @pytest.fixture
    def three(self, client, paste_file):
        client.attach()
        client.attach(volume=client.dialect.other_volume)
        return [client.dialect.volume, client.dialect.other_volume]

    @pytest.mark.parametrize(
        ("query", "part"),
        [
            ({"limit": 1}, slice(0, 1)),
            ({"limit": 2}, slice(0, 2)),
            ({"limit": 0}, slice(0, 2)),
            ({"limit": 10**30}, slice(0, 2)),
            ({"offset": 0}, slice(0, 2)),
            ({"offset": 1}, slice(1, 2)),
            ({"offset": 2}, slice(0, 0)),
            ({"offset": 10**30}, slice(0, 0)),
            ({"limit": 1, "offset": 1}, slice(1, 2)),
            ({"limit": "007", "offset": "001"}, slice(1, 2)),
        ],
    )
    def test_limit_and_offset_choose_a_part(self, client, three, query, part):
        response = client.list(**query)
        assert (response.status, response.volumes) == (200, three[part])

    @pytest.mark.parametrize("name", ["limit", "offset"])
    @pytest.mark.parametrize("value", ["-1", "1.5", "x", "", "+1", " 1", "１", "1_0", "0x1", "1" * 101])
    @pytest.mark.changes_nothing
    def test_what_is_no_integer_from_0_is_400(self, client, name, value):
        response = client.list(**{name: value})
        assert response.failure == ("badRequest", 400)
        assert response.fault.message == f"{name} must be an integer, 0 or more."

    @pytest.mark.parametrize("name", ["limit", "offset"])
    @pytest.mark.changes_nothing
    def test_given_twice_is_400(self, client, name):
        response = client.request("GET", f"{client.path()}?{name}=1&{name}=1")
        assert response.failure == ("badRequest", 400)
        assert response.fault.message == f"{name} must not be given twice."

    @pytest.mark.parametrize("query", [{}, {"limit": 0}, {"limit": 1}, {"limit": 2}])
    def test_no_more_than_max_limit_are_given(self, start, paste_file, client_of, query):
        client = client_of(start(paste_file(max_limit="1")))
        client.attach()
        client.attach(volume=client.dialect.other_volume)
        assert client.list(**query).volumes == [client.dialect.volume]


class TestChangesSince:
    @pytest.fixture
    def times(self, client, rows):
        """Attach two volumes; when that was."""
        client.attach()
        client.attach(volume=client.dialect.other_volume)
        return [row["created_at"] for row in rows()]

    @pytest.fixture
    def both(self, client):
        return [client.dialect.volume, client.dialect.other_volume]

    def test_returns_the_attachments_created_at_that_time_or_later(self, client, times, both):
        moment = datetime.timedelta(microseconds=1)
        assert client.list(since=times[0].isoformat()).volumes == both
        assert client.list(since=(times[0] + moment).isoformat()).volumes == both[1:]
        assert client.list(since=times[1].isoformat()).volumes == both[1:]
        assert client.list(since=(times[1] + moment).isoformat()).volumes == []

    def test_without_an_offset_it_is_utc(self, client, times, both):
        assert client.list(since=times[1].replace(tzinfo=None).isoformat()).volumes == both[1:]

    def test_z_is_utc(self, client, times, both):
        assert client.list(since=f"{times[1].replace(tzinfo=None).isoformat()}Z").volumes == both[1:]

    @pytest.mark.parametrize("hours", [-7, 2, 14])
    def test_an_offset_counts(self, client, times, both, hours):
        there = times[1].astimezone(datetime.timezone(datetime.timedelta(hours=hours)))
        assert client.list(since=there.isoformat()).volumes == both[1:]

    def test_a_plus_that_was_not_quoted_is_taken_for_one(self, client, times, both):
        there = times[1].astimezone(datetime.timezone(datetime.timedelta(hours=2))).isoformat()
        assert "+02:00" in there
        assert client.request("GET", f"{client.path()}?changes-since={there}").volumes == both[1:]

    def test_a_time_of_long_ago_means_all(self, client, times, both):
        assert client.list(since="2011-01-24T17:08Z").volumes == both

    def test_pages_are_counted_from_there(self, client, times, both):
        assert client.list(since=times[0].isoformat(), limit=1).volumes == both[:1]
        assert client.list(since=times[0].isoformat(), offset=1).volumes == both[1:]

    @pytest.mark.parametrize(
        "text",
        ["yesterday", "", "2011-13-01T00:00Z", "2011-01-24T25:00Z", "1295888880", "0001-01-01T00:00+14:00", "\x00"],
    )
    @pytest.mark.changes_nothing
    def test_malformed_is_400(self, client, text):
        response = client.list(since=text)
        assert response.failure == ("badRequest", 400)
        assert "changes-since must be an ISO 8601 date and time" in response.fault.message

    @pytest.mark.parametrize("text", ["2011-01-24", "20110124", "2011-W04-1"])
    @pytest.mark.changes_nothing
    def test_a_date_only_is_400(self, client, text):
        response = client.list(since=text)
        assert response.failure == ("badRequest", 400)
        assert "changes-since must have a date and a time" in response.fault.message

    @pytest.mark.changes_nothing
    def test_the_future_is_400(self, client):
        tomorrow = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=1)
        response = client.list(since=tomorrow.isoformat())
        assert response.failure == ("badRequest", 400)
        assert response.fault.message == "changes-since must not be in the future."

    @pytest.mark.changes_nothing
    def test_repeated_is_400(self, client):
        time = "changes-since=2011-01-24T17:08Z"
        response = client.request("GET", f"{client.path()}?{time}&{time}")
        assert response.failure == ("badRequest", 400)
        assert response.fault.message == "changes-since must not be given twice."


@only_openstack
class TestDevice:
    def test_the_requested_device_is_assigned(self, client):
        assert client.attach(device="/dev/vdq").attachment == client.shown(device="/dev/vdq")
        assert client.show().attachment == client.shown(device="/dev/vdq")

    @pytest.mark.parametrize("device", ["/dev/sdc", "/dev/vdb1", "/dev/x", f"/dev/{'v' * 250}"])
    def test_it_may_be_any_of_novas_pattern(self, client, device):
        assert client.attach(device=device).attachment == client.shown(device=device)

    def test_one_that_is_taken_is_a_conflict_and_attaches_nothing(self, client):
        client.attach(device="/dev/vdq")
        response = client.attach(volume=client.dialect.other_volume, device="/dev/vdq")
        assert response.failure == ("conflictingRequest", 409)
        assert "/dev/vdq" in response.fault.message
        assert "Retry-After" not in response.headers
        assert client.list().volumes == [client.dialect.volume]

    def test_the_root_volumes_is_taken(self, client):
        response = client.attach(client.dialect.rooted, device="/dev/vda")
        assert response.failure == ("conflictingRequest", 409)

    def test_it_may_be_taken_on_another_server(self, client):
        client.attach(device="/dev/vdq")
        response = client.attach(client.dialect.other_server, client.dialect.other_volume, device="/dev/vdq")
        assert response.status == 200

    def test_without_a_requested_device_the_first_free_one_is_assigned(self, client):
        client.attach(device="/dev/vdb")
        assert client.attach(volume=client.dialect.other_volume).attachment["device"] == "/dev/vdc"

    @only_json
    def test_null_is_the_same_as_no_device(self, client):
        assert client.attach(device=None).attachment == client.shown(device="/dev/vdb")

    @pytest.mark.parametrize(
        "device",
        [
            "vdb",
            "/dev/",
            "/dev/VDB",
            "/dev/vdb ",
            "/dev/../etc",
            "/dev/v-b",
            "/dev/1",
            "/dev/vdb\n",
            f"/dev/{'v' * 251}",
            "",
        ],
    )
    @pytest.mark.changes_nothing
    def test_wrong_is_400(self, client, device):
        response = client.attach(device=device)
        assert response.failure == ("badRequest", 400)
        assert response.fault.message.startswith("device must match ^/dev/[a-z]+[0-9]*$ ")
        assert not is_attached(client)

    @pytest.mark.parametrize("device", [1, True, ["/dev/vdb"], {"name": "/dev/vdb"}])
    @only_json
    @pytest.mark.changes_nothing
    def test_of_another_type_is_400(self, client, device):
        response = client.attach(device=device)
        assert response.failure == ("badRequest", 400)
        assert response.fault.message.startswith("device must match ^/dev/[a-z]+[0-9]*$ ")


@only_cyclades
class TestDeviceInCyclades:
    @pytest.mark.parametrize("device", ["/dev/vdq", "nonsense", ""])
    def test_a_requested_device_is_ignored(self, client, device):
        assert client.attach(device=device).attachment == client.shown(device="")

    @pytest.mark.parametrize("device", [None, 1, ["/dev/vdb"]])
    @only_json
    def test_whatever_its_type(self, client, device):
        assert client.attach(device=device).attachment == client.shown(device="")


class TestSpellings:
    def test_an_id_has_several_spellings_and_the_canonical_one_is_returned(self, client):
        server, volume = client.dialect.spellings
        body = client.format.request(volume)
        assert client.request("POST", client.path(server), body).attachment == client.shown()
        assert client.list(server).attachments == [client.shown()]
        assert client.show(server, volume).attachment == client.shown()
        assert client.show().attachment == client.shown()
        assert client.detach(server, volume).status == client.dialect.detach_status
        assert client.list().attachments == []

    def test_another_spelling_does_not_attach_twice(self, client):
        server, volume = client.dialect.spellings
        client.attach()
        assert client.attach(client.dialect.other_server, volume).failure == client.dialect.in_use
        assert client.attach(server, client.dialect.volume).failure == client.dialect.in_use

    @pytest.mark.changes_nothing
    def test_a_malformed_id_in_the_path_is_404_and_named(self, client):
        for malformed in client.dialect.malformed:
            quoted = quote(malformed)
            for response in (
                client.list(quoted),
                client.attach(quoted),
                client.show(quoted),
                client.detach(quoted),
                client.show(volume=quoted),
                client.detach(volume=quoted),
            ):
                assert response.failure == ("itemNotFound", 404)
                assert malformed in response.fault.message

    @pytest.mark.changes_nothing
    def test_a_malformed_id_in_the_body_is_400_and_named(self, client):
        for malformed in client.dialect.malformed:
            response = client.request("POST", client.path(), client.format.request(malformed))
            assert response.failure == ("badRequest", 400)
            assert repr(malformed) in response.fault.message

    @only_cyclades
    @only_json
    def test_an_integer_and_its_digits_are_one_id(self, client):
        assert client.request("POST", client.path(), b'{"volumeAttachment": {"volumeId": "9"}}').status == 200
        response = client.request("POST", client.path(), b'{"volumeAttachment": {"volumeId": 9}}')
        assert response.fault.message == "Volume 9 is attached to server 1134."


class TestConflicts:
    def test_a_volume_in_use_names_the_server(self, client):
        client.attach(client.dialect.other_server)
        response = client.attach()
        assert response.failure == client.dialect.in_use
        expected = f"Volume {client.dialect.volume} is attached to server {client.dialect.other_server}."
        assert response.fault.message == expected
        assert "Retry-After" not in response.headers
        assert client.list().attachments == []

    def test_attached_there_already_is_in_use_too(self, client):
        client.attach()
        response = client.attach()
        assert response.failure == client.dialect.in_use
        expected = f"Volume {client.dialect.volume} is attached to server {client.dialect.server}."
        assert response.fault.message == expected

    def test_a_server_that_is_being_built_takes_no_disk_yet(self, client):
        response = client.attach(client.dialect.building)
        assert response.failure == client.dialect.conflict
        assert client.dialect.building in response.fault.message
        assert "BUILD" in response.fault.message
        assert int(response.headers["Retry-After"]) > 0

    def test_the_states_that_take_disks_are_the_operators_choice(self, start, paste_file, client_of, set_server):
        client = client_of(start(paste_file(server_states="error")))
        set_server(client.dialect.other_server, status="ERROR")
        assert client.attach(client.dialect.other_server).status == 200
        response = client.attach(volume=client.dialect.other_volume)
        assert response.failure == client.dialect.conflict
        assert "ACTIVE" in response.fault.message
        assert "Retry-After" not in response.headers

    @pytest.mark.parametrize("task", ["image_snapshot", "deleting", "rebuilding", "shelving", "powering-on"])
    def test_a_server_with_a_pending_task_takes_and_gives_up_no_disks(self, client, set_server, rows, task):
        client.attach()
        set_server(task_state=task)
        for operation, action in (
            (lambda: client.attach(volume=client.dialect.other_volume), "attach a volume to"),
            (client.detach, "detach a volume from"),
        ):
            response = operation()
            assert response.failure == client.dialect.conflict
            assert response.fault.message == (
                f"Cannot {action} server {client.dialect.server} while it has the pending task {task}."
            )
            assert int(response.headers["Retry-After"]) > 0
        assert client.list().volumes == [client.dialect.volume]
        assert [row["state"] for row in rows()] == ["attached"]
        set_server(task_state=None)
        assert client.detach().status == client.dialect.detach_status

    @pytest.mark.one_format
    def test_a_task_makes_a_conflict_with_the_status_worth_a_retry(self, client, set_server):
        set_server(status="SUSPENDED")
        assert "Retry-After" not in client.attach().headers
        set_server(status="SUSPENDED", task_state="resuming")
        response = client.attach()
        assert response.fault.message.endswith("while it is in status SUSPENDED and has the pending task resuming.")
        assert "Retry-After" in response.headers

    @pytest.mark.one_format
    def test_administrators_wait_for_a_pending_task_too(self, client, set_server):
        set_server(task_state="rebuilding")
        assert client.by("admin").attach().failure == client.dialect.conflict

    def test_the_root_volume_is_not_detached(self, client):
        response = client.detach(client.dialect.rooted, client.dialect.root_volume)
        assert response.failure == ("badRequest", 400)
        assert "root volume" in response.fault.message
        assert "Retry-After" not in response.headers
        assert is_attached(client, client.dialect.rooted, client.dialect.root_volume)

    def test_one_disk_more_than_allowed_is_refused(self, start, paste_file, client_of):
        client = client_of(start(paste_file(max_attachments="1")))
        client.attach()
        response = client.attach(volume=client.dialect.other_volume)
        assert (
            response.failure == {"cyclades": ("badRequest", 400), "openstack": ("forbidden", 403)}[client.dialect.name]
        )
        assert client.list().volumes == [client.dialect.volume]

    @pytest.mark.parametrize("state", ["attaching", "detaching"])
    def test_an_operation_under_way_passes(self, client, rows, under_way, state):
        client.attach()
        under_way(state)
        responses = [client.attach(), client.attach(client.dialect.other_server), client.detach()]
        assert [response.failure for response in responses] == [client.dialect.conflict] * 3
        assert all(int(response.headers["Retry-After"]) > 0 for response in responses)
        assert [row["state"] for row in rows()] == [state]

    def test_what_is_being_attached_is_not_shown_and_what_is_being_detached_is(self, client, under_way):
        client.attach()
        under_way("attaching")
        assert (client.list().volumes, client.show().status) == ([], 404)
        under_way("detaching")
        assert (client.list().volumes, client.show().status) == ([client.dialect.volume], 200)

    @pytest.fixture
    def under_way(self, tables):
        def make(state):
            with tables() as connection:
                connection.execute(
                    update(attachments).where(~attachments.c.root).values(state=state, updated_at=utc_now())
                )

        return make


class TestFaultForm:
    def test_details_are_there_where_the_dialect_has_them(self, client):
        for response in (client.show(), client.request("PUT", client.path()), client.by(None).list()):
            assert response.fault.details == ("" if client.dialect.details else None)

    @only_cyclades
    @only_json
    def test_is_the_very_document_in_json(self, client):
        assert client.show().body == (
            b'{"itemNotFound": {"code": 404, "message": "Volume 9 is not attached to server 1134.", "details": ""}}'
        )

    @only_cyclades
    @only_xml
    def test_is_the_very_document_in_xml(self, client):
        assert client.show().body.endswith(
            b'\n<itemNotFound xmlns="http://docs.openstack.org/compute/api/v1.1" code="404">'
            b"<message>Volume 9 is not attached to server 1134.</message><details/></itemNotFound>"
        )


class TestWhatIsNotThere:
    def test_is_404_and_names_the_requested_id(self, client):
        dialect = client.dialect
        client.attach()
        for response, requested in [
            (client.list(dialect.unknown_server), dialect.unknown_server),
            (client.attach(dialect.unknown_server), dialect.unknown_server),
            (client.show(dialect.unknown_server), dialect.unknown_server),
            (client.detach(dialect.unknown_server), dialect.unknown_server),
            (client.attach(volume=dialect.unknown_volume), dialect.unknown_volume),
            (client.show(volume=dialect.unknown_volume), dialect.unknown_volume),
            (client.detach(volume=dialect.unknown_volume), dialect.unknown_volume),
            (client.show(volume=dialect.other_volume), dialect.other_volume),
        ]:
            assert response.failure == ("itemNotFound", 404)
            assert requested in response.fault.message

    def test_another_projects_server_is_reported_as_missing(self, client):
        dialect = client.dialect
        assert client.by("other").attach(dialect.others_server, dialect.others_volume).status == 200
        for operation in (client.list, client.attach, client.show, client.detach):
            there, missing = operation(dialect.others_server), operation(dialect.unknown_server)
            assert there.status == 404
            assert same_but_for_the_id(there, dialect.others_server) == same_but_for_the_id(
                missing, dialect.unknown_server
            )

    def test_another_projects_volume_is_reported_as_missing(self, client):
        dialect = client.dialect
        client.by("other").attach(dialect.others_server, dialect.others_volume)
        for operation in (client.attach, client.show, client.detach):
            there = operation(volume=dialect.others_volume)
            missing = operation(volume=dialect.unknown_volume)
            assert there.status == 404
            assert same_but_for_the_id(there, dialect.others_volume) == same_but_for_the_id(
                missing, dialect.unknown_volume
            )
        assert is_attached(client.by("other"), dialect.others_server, dialect.others_volume)

    def test_another_projects_attachment_is_reported_as_missing(self, client):
        dialect = client.dialect
        client.by("other").attach(dialect.others_server, dialect.others_volume)
        for operation in (client.show, client.detach):
            there = operation(dialect.others_server, dialect.others_volume)
            missing = operation(dialect.unknown_server, dialect.others_volume)
            assert there.status == 404
            assert same_but_for_the_id(there, dialect.others_server) == same_but_for_the_id(
                missing, dialect.unknown_server
            )


def same_but_for_the_id(response, requested):
    status, headers, body = response.lasting()
    assert requested.encode() in body
    return status, headers, body.replace(requested.encode(), b"ID")


class TestRoles:
    def test_an_admin_works_in_any_project(self, client):
        admin = client.by("admin")
        assert admin.attach().attachment == client.shown()
        assert client.list().volumes == [client.dialect.volume]
        assert admin.list().volumes == [client.dialect.volume]
        assert admin.show().attachment == client.shown()
        assert admin.detach().status == client.dialect.detach_status
        assert client.list().attachments == []

    def test_what_an_admin_attaches_bears_the_servers_project(self, client, rows):
        client.by("admin").attach()
        assert [row["project_id"] for row in rows()] == ["demo"]

    def test_an_admin_does_not_attach_one_projects_volume_to_anothers_server(self, client):
        response = client.by("admin").attach(volume=client.dialect.others_volume)
        assert response.failure == ("itemNotFound", 404)
        assert client.dialect.others_volume in response.fault.message

    def test_a_reader_lists_and_shows(self, client):
        client.attach()
        reader = client.by("reader")
        assert reader.list().attachments == [client.shown()]
        assert reader.show().attachment == client.shown()

    def test_a_reader_neither_attaches_nor_detaches(self, client):
        reader = client.by("reader")
        assert reader.attach().failure == ("forbidden", 403)
        assert client.list().attachments == []
        client.attach()
        assert reader.detach().failure == ("forbidden", 403)
        assert is_attached(client)

    def test_another_project_has_its_own(self, client):
        dialect = client.dialect
        response = client.by("other").attach(dialect.others_server, dialect.others_volume)
        assert response.attachment == client.shown(dialect.others_server, dialect.others_volume)

    def test_a_policy_file_changes_who_is_allowed(self, start, paste_file, client_of, tmp_path):
        rules = tmp_path / "policy.yaml"
        rules.write_text('"os_compute_api:os-volumes-attachments:create": "rule:project_reader_or_admin"\n')
        client = client_of(start(paste_file(policy_file=str(rules)))).by("reader")
        assert (client.attach().status, client.detach().status) == (200, 403)

    @pytest.mark.one_format
    def test_a_rule_about_the_servers_user_lets_only_that_user_attach(
        self, start, paste_file, client_of, tmp_path, rows
    ):
        rules = tmp_path / "policy.yaml"
        rules.write_text('"os_compute_api:os-volumes-attachments:create": "user_id:%(user_id)s"\n')
        client = client_of(start(paste_file(policy_file=str(rules))))
        assert client.by("reader").attach().failure == ("forbidden", 403)
        for user in ("other", "admin"):
            assert client.by(user).attach().failure == ("itemNotFound", 404)
        assert rows() == []
        assert client.attach().status == 200

    @pytest.mark.one_format
    def test_the_administrators_rule_may_need_the_admin_project(self, start, paste_file, client_of, tmp_path):
        rules = tmp_path / "policy.yaml"
        rules.write_text('"context_is_admin": "role:admin and is_admin_project:True"\n')
        assert client_of(start(paste_file(policy_file=str(rules)))).by("admin").attach().status == 200

    @pytest.mark.one_format
    def test_a_change_in_policy_d_holds_for_the_next_request(self, start, paste_file, client_of, tmp_path):
        (tmp_path / "policy.yaml").touch()
        client = client_of(start(paste_file(policy_file=f"{tmp_path}/policy.yaml"))).by("reader")
        assert client.list().status == 200
        (tmp_path / "policy.d").mkdir()
        (tmp_path / "policy.d" / "rules.yaml").write_text('"os_compute_api:os-volumes-attachments:index": "!"\n')
        assert client.list().failure == ("forbidden", 403)

    @only_openstack
    @only_json
    @pytest.mark.changes_nothing
    def test_a_denied_request_is_logged_with_the_rule_and_the_caller(self, client, caplog):
        caplog.set_level(logging.INFO, "os_volume_ext.context")
        request_id = client.by("reader").attach().headers["X-Openstack-Request-Id"]
        (record,) = [record for record in caplog.records if record.name == "os_volume_ext.context"]
        assert (record.levelname, record.getMessage()) == (
            "INFO",
            f"{request_id} policy denied os_compute_api:os-volumes-attachments:create to user 'user-reader', "
            "project 'demo', roles ['reader']",
        )

    @only_openstack
    @only_json
    def test_a_request_denied_after_the_look_up_is_logged_too(self, start, paste_file, client_of, tmp_path, caplog):
        rules = tmp_path / "policy.yaml"
        rules.write_text('"os_compute_api:os-volumes-attachments:create": "user_id:%(user_id)s"\n')
        client = client_of(start(paste_file(policy_file=str(rules))))
        caplog.set_level(logging.INFO, "os_volume_ext.context")
        for user in ("reader", "admin"):
            client.by(user).attach()
        assert [record.getMessage().split(" to ")[1] for record in caplog.records if "policy denied" in record.msg] == [
            "user 'user-reader', project 'demo', roles ['reader']",
            "user 'user-admin', project 'admin', roles ['admin', 'member', 'reader']",
        ]


def bare(tmp_path, app=None, **more):
    """Wrap an application that must not be called, or the given one, without an auth filter before ours."""

    def unasked(environ, start_response):
        raise AssertionError("the compute API was called")

    options = {"backend.root": tmp_path / "disks", "database.url": f"sqlite:///{tmp_path}/bare.db", **more}
    return TestApp(close_later(make_filter(app or unasked, backend="directory", **options)))


class TestAuthentication:
    def refused(self, response):
        assert response.failure == ("unauthorized", 401)
        assert response.headers["WWW-Authenticate"] == "Keystone"

    @pytest.mark.parametrize("user", [None, "nobody", "demo-token x", "DEMO"])
    def test_no_token_and_a_wrong_one_are_401(self, client, user):
        client.attach()
        unauthenticated = client.by(user)
        for operation in (unauthenticated.list, unauthenticated.show, unauthenticated.attach, unauthenticated.detach):
            self.refused(operation())
        assert is_attached(client)

    def test_an_empty_token_is_401(self, client):
        self.refused(client.by(None).request("GET", client.path(), headers={"X-Auth-Token": ""}))

    @pytest.mark.parametrize("token", [{}, {"X-Auth-Token": "nobody"}])
    def test_identity_headers_do_not_come_through_the_auth_filter(self, client, token):
        self.refused(client.by(None).request("GET", client.path(), headers=IDENTITY_HEADERS | token))

    def test_forged_roles_do_not_help_a_reader(self, client):
        body = client.format.request(client.dialect.volume)
        response = client.by("reader").request("POST", client.path(), body, headers=IDENTITY_HEADERS)
        assert response.failure == ("forbidden", 403)

    def test_without_an_auth_filter_no_identity_header_is_trusted(self, client_of, tmp_path):
        client = client_of(bare(tmp_path)).by(None)
        path = "/servers/1134/os-volume_attachments"
        self.refused(client.request("GET", path, headers=IDENTITY_HEADERS))
        self.refused(client.request("POST", path, client.format.request(9), headers=IDENTITY_HEADERS))
        self.refused(client.request("DELETE", f"{path}/9", headers=IDENTITY_HEADERS))

    @pytest.mark.parametrize("status", [None, "Invalid", "confirmed", ""])
    @only_json
    def test_a_token_that_the_auth_filter_did_not_confirm_is_401(self, client_of, tmp_path, status):
        environ = {"keystone.token_info": {"token": {}}, "HTTP_X_PROJECT_ID": "demo", "HTTP_X_ROLES": "admin"}
        if status is not None:
            environ["HTTP_X_IDENTITY_STATUS"] = status
        client = client_of(bare(tmp_path)).by(None)
        self.refused(client.request("GET", "/servers/1134/os-volume_attachments", environ=environ))

    @only_json
    def test_a_service_tokens_system_scope_is_not_the_callers(self, client_of, tmp_path):
        """keystonemiddleware overwrites the header of the caller's token with that of the service token."""

        def missing(environ, start_response):
            start_response("404 Not Found", [])
            return [b""]

        (tmp_path / "policy.yaml").write_text('"os_compute_api:os-volumes-attachments:index": "system_scope:all"')
        app = bare(tmp_path, missing, policy_file=tmp_path / "policy.yaml").app
        unlinted = TestApp(app, lint=False)
        statuses = []
        for token, header in (({"project": {"id": "demo"}}, "all"), ({"system": {"all": True}}, None)):
            environ = {"keystone.token_info": {"token": token}, "HTTP_X_IDENTITY_STATUS": "Confirmed"}
            environ["HTTP_OPENSTACK_SYSTEM_SCOPE"] = header
            client = client_of(unlinted).by(None)
            statuses.append(client.request("GET", "/servers/1134/os-volume_attachments", environ=environ).status)
        assert statuses == [403, 404]

    @only_json
    def test_values_of_none_in_the_environ_are_no_error(self, client_of, tmp_path):
        """keystonemiddleware leaves them there for a token without a project."""
        environ = {"keystone.token_info": {"token": {}}, "HTTP_X_IDENTITY_STATUS": "Confirmed"}
        app = bare(tmp_path).app
        none = dict.fromkeys(("HTTP_X_USER_ID", "HTTP_X_PROJECT_ID", "HTTP_X_ROLES", "HTTP_X_SERVICE_ROLES"))
        unlinted = TestApp(lambda environ, start: app(environ | none, start))
        response = client_of(unlinted).request("GET", "/servers/1134/os-volume_attachments", environ=environ)
        assert response.failure == ("forbidden", 403)


class TestOrderOfChecks:
    """Each request here is wrong in two ways; the first check decides."""

    BODY = b"not a body"

    @pytest.mark.changes_nothing
    def test_method_before_format(self, client):
        response = client.request("PUT", f"{client.path()}?json&xml")
        assert response.failure == (client.dialect.bad_method, 405)
        assert response.format.name == "json"

    @pytest.mark.changes_nothing
    def test_format_before_authentication(self, client):
        response = client.by(None).request("GET", f"{client.path()}?json&xml")
        assert response.failure == ("badRequest", 400)
        assert response.format.name == "json"

    @pytest.mark.changes_nothing
    def test_method_before_authentication(self, client):
        assert client.by(None).request("PUT", client.path()).status == 405

    @pytest.mark.changes_nothing
    def test_authentication_before_policy(self, client):
        forged = IDENTITY_HEADERS | {"X-Roles": "reader"}
        assert client.by(None).request("DELETE", client.path(volume="9"), headers=forged).status == 401

    @pytest.mark.changes_nothing
    def test_authentication_before_body(self, client):
        assert client.by(None).request("POST", client.path(), self.BODY).status == 401

    @pytest.mark.changes_nothing
    def test_policy_before_body(self, client):
        assert client.by("reader").request("POST", client.path(), self.BODY).status == 403

    @pytest.mark.changes_nothing
    def test_policy_before_the_bodys_size(self, client):
        assert client.by("reader").request("POST", client.path(), b" " * 65537).status == 403

    @pytest.mark.changes_nothing
    def test_policy_before_look_up(self, client):
        assert client.by("reader").attach(client.dialect.unknown_server).status == 403

    @pytest.mark.changes_nothing
    def test_body_before_server(self, client):
        response = client.request("POST", client.path(client.dialect.unknown_server), self.BODY)
        assert response.failure == ("badRequest", 400)

    @pytest.mark.changes_nothing
    def test_body_before_a_malformed_server(self, client):
        assert client.request("POST", client.path("nonsense"), self.BODY).status == 400

    @pytest.mark.changes_nothing
    def test_the_volume_of_the_body_is_checked_before_the_server(self, client):
        body = client.format.request("nonsense")
        assert client.request("POST", client.path(client.dialect.unknown_server), body).status == 400

    @pytest.mark.changes_nothing
    def test_the_bodys_size_before_server(self, client):
        response = client.request("POST", client.path(client.dialect.unknown_server), b" " * 65537)
        assert response.failure == ("overLimit", 413)

    @pytest.mark.changes_nothing
    def test_the_querys_page_before_server(self, client):
        assert client.list(client.dialect.unknown_server, limit="x").status == 400

    @pytest.mark.changes_nothing
    def test_server_before_volume(self, client):
        response = client.attach(client.dialect.unknown_server, client.dialect.unknown_volume)
        assert client.dialect.unknown_server in response.fault.message

    @pytest.mark.changes_nothing
    def test_volume_before_the_servers_state(self, client):
        response = client.attach(client.dialect.building, client.dialect.unknown_volume)
        assert response.failure == ("itemNotFound", 404)

    def test_the_servers_state_before_the_volumes(self, client):
        client.attach()
        response = client.attach(client.dialect.building)
        assert response.failure == client.dialect.conflict
        assert "BUILD" in response.fault.message
