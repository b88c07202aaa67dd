"""The sample's compute API, identity API, version lists and auth filter, through their paste factories."""

import json

import pytest
from webtest import TestApp

from os_volume_ext.backends.base import ConfigurationError
from os_volume_ext.demo import compute, data, identity, static_tokens, versions

TestApp.__test__ = False  # its name makes pytest take it for a class of tests

WEB = "4335bab6-6086-4247-8274-8b8b048edaaa"
ELSEWHERE = "9a1f3c52-7d6e-4b0b-9f7a-0c2d5e8f1a34"
AUTHTOKEN_HEADERS = [
    "X-Identity-Status",
    "X-Service-Identity-Status",
    "X-Service-Catalog",
    "X-Is-Admin-Project",
    "OpenStack-System-Scope",
    "X-Domain-Id",
    "X-Domain-Name",
    "X-Project-Id",
    "X-Project-Name",
    "X-Project-Domain-Id",
    "X-Project-Domain-Name",
    "X-User-Id",
    "X-User-Name",
    "X-User-Domain-Id",
    "X-User-Domain-Name",
    "X-Roles",
    "X-Service-Domain-Id",
    "X-Service-Domain-Name",
    "X-Service-Project-Id",
    "X-Service-Project-Name",
    "X-Service-Project-Domain-Id",
    "X-Service-Project-Domain-Name",
    "X-Service-User-Id",
    "X-Service-User-Name",
    "X-Service-User-Domain-Id",
    "X-Service-User-Domain-Name",
    "X-Service-Roles",
    "X-Role",
    "X-User",
    "X-Tenant",
    "X-Tenant-Id",
    "X-Tenant-Name",
]


def token(name):
    return {"X-Auth-Token": f"{name}-token"}


DEMO, READER, OTHER, ADMIN = map(token, ("demo", "reader", "other", "admin"))


def ids(response):
    return [server["id"] for server in response.json["servers"]]


@pytest.fixture
def make(tmp_path):
    def make_compute(dialect):
        app = compute.app_factory(
            {},
            dialect=dialect,
            state=str(tmp_path / "var" / dialect / "servers.json"),
            directories=str(tmp_path / "backend" / dialect),
        )
        return TestApp(static_tokens.filter_factory({})(app))

    return make_compute


@pytest.fixture
def nova(make):
    return make("openstack")


@pytest.fixture
def cyclades(make):
    return make("cyclades")


@pytest.fixture
def keystone():
    return TestApp(identity.app_factory({}, compute="/v2.1", cyclades="/compute/v2.0", volume="/volume/v3"))


class Echo:
    """Tells which identity it was called with."""

    def __init__(self):
        self.environ = {}

    def __call__(self, environ, start_response):
        self.environ = dict(environ)
        start_response("204 No Content", [])
        return []


class TestStaticTokens:
    @pytest.fixture
    def seen(self):
        def call(**headers):
            echo = Echo()
            environ = {"HTTP_" + name.upper().replace("-", "_"): value for name, value in headers.items()}
            TestApp(static_tokens.filter_factory({})(echo)).get("/", extra_environ=environ)
            return echo.environ

        return call

    @pytest.mark.parametrize("header", AUTHTOKEN_HEADERS)
    def test_a_forged_identity_header_does_not_come_through(self, seen, header):
        environ = seen(**{header: "forged"})
        assert "forged" not in environ.values()
        assert environ["HTTP_X_IDENTITY_STATUS"] == "Invalid"

    @pytest.mark.parametrize("header", AUTHTOKEN_HEADERS)
    def test_a_forged_identity_header_does_not_come_through_beside_a_valid_token(self, seen, header):
        environ = seen(**{header: "forged"}, **DEMO)
        assert "forged" not in environ.values()
        assert environ["HTTP_X_IDENTITY_STATUS"] == "Confirmed"

    def test_a_known_token_is_confirmed_with_user_project_and_roles(self, seen):
        environ = seen(**DEMO)
        expected = {
            "HTTP_X_USER_ID": "user-demo",
            "HTTP_X_USER_NAME": "demo",
            "HTTP_X_USER_DOMAIN_NAME": "Default",
            "HTTP_X_PROJECT_ID": "demo",
            "HTTP_X_PROJECT_DOMAIN_ID": "default",
            "HTTP_X_TENANT_ID": "demo",
            "HTTP_X_ROLES": "member,reader",
        }
        assert expected.items() <= environ.items()
        assert environ["keystone.token_info"]["token"]["project"]["id"] == "demo"

    @pytest.mark.parametrize("headers", [{}, {"X-Auth-Token": "wrong"}, {"X-Auth-Token": ""}])
    def test_a_request_without_a_known_token_is_passed_on_as_invalid(self, seen, headers):
        environ = seen(**headers)
        assert environ["HTTP_X_IDENTITY_STATUS"] == "Invalid"
        assert "keystone.token_info" not in environ
        assert "HTTP_X_PROJECT_ID" not in environ

    def test_the_storage_token_counts_where_there_is_no_auth_token(self, seen):
        assert seen(**{"X-Storage-Token": "demo-token"})["HTTP_X_USER_NAME"] == "demo"
        both = seen(**{"X-Storage-Token": "demo-token", "X-Auth-Token": "wrong"})
        assert both["HTTP_X_IDENTITY_STATUS"] == "Invalid"

    def test_a_service_token_is_never_a_valid_one(self, seen):
        assert seen(**DEMO, **{"X-Service-Token": "admin-token"})["HTTP_X_SERVICE_IDENTITY_STATUS"] == "Invalid"

    def test_an_option_is_refused(self):
        with pytest.raises(ValueError, match="tokens is not an option"):
            static_tokens.filter_factory({"debug": "yes"}, tokens="x")


class TestServers:
    def test_the_fixed_servers_of_the_callers_project_are_listed(self, nova, cyclades):
        assert ids(cyclades.get("/servers", headers=DEMO)) == [1134, 1135, 1140, 1141]
        assert ids(cyclades.get("/servers", headers=OTHER)) == [2001]
        assert ids(nova.get("/servers/detail", headers=OTHER)) == [ELSEWHERE]
        assert len(ids(nova.get("/servers", headers=DEMO))) == 4

    def test_an_administrator_sees_the_servers_of_all_projects_on_request(self, nova):
        assert ids(nova.get("/servers", headers=ADMIN)) == []
        assert len(ids(nova.get("/servers?all_tenants=1", headers=ADMIN))) == 5
        assert ids(nova.get("/servers?all_tenants=1&project_id=other", headers=ADMIN)) == [ELSEWHERE]
        nova.get("/servers?all_tenants=1", headers=DEMO, status=403)

    def test_a_list_can_be_narrowed_by_name_and_status(self, nova):
        assert ids(nova.get("/servers?name=web", headers=DEMO)) == [WEB]
        assert len(ids(nova.get("/servers?status=build", headers=DEMO))) == 1

    def test_a_server_is_shown_in_novas_form(self, nova):
        server = nova.get(f"/servers/{WEB}", headers=READER).json["server"]
        expected = {"id": WEB, "name": "web", "status": "ACTIVE", "tenant_id": "demo", "user_id": "user-demo"}
        assert expected.items() <= server.items()
        assert server["links"][0]["href"] == f"http://localhost/servers/{WEB}"
        assert not {"locked", "OS-EXT-SRV-ATTR:host"} & set(server)

    def test_a_cyclades_server_has_an_integer_id(self, cyclades):
        server = cyclades.get("/servers/1140", headers=DEMO).json["server"]
        assert (server["id"], server["status"]) == (1140, "BUILD")

    def test_only_an_administrator_sees_the_host_and_only_in_the_openstack_dialect(self, nova, cyclades):
        assert nova.get(f"/servers/{WEB}", headers=ADMIN).json["server"]["OS-EXT-SRV-ATTR:host"] == "demo-host"
        assert "OS-EXT-SRV-ATTR:host" not in cyclades.get("/servers/1134", headers=ADMIN).json["server"]

    def test_a_server_of_another_project_looks_like_a_missing_one(self, nova, cyclades):
        nova_fault = nova.get(f"/servers/{ELSEWHERE}", headers=DEMO, status=404).json["itemNotFound"]
        assert nova_fault == {"code": 404, "message": f"Server {ELSEWHERE} could not be found."}
        fault = cyclades.get("/servers/2001/ips", headers=DEMO, status=404).json["itemNotFound"]
        assert fault == {"code": 404, "message": "Server 2001 could not be found.", "details": ""}
        assert nova.get(f"/servers/{ELSEWHERE}/ips", headers=ADMIN).json == {"addresses": {}}

    def test_head_works_where_get_does(self, nova):
        assert nova.head(f"/servers/{WEB}", headers=DEMO).body == b""


class TestCreateAndDelete:
    def test_a_server_that_is_made_has_a_directory_until_it_is_deleted(self, nova, tmp_path):
        response = nova.post_json("/servers", {"server": {"name": "new"}}, headers=DEMO, status=202)
        server_id = response.json["server"]["id"]
        directory = tmp_path / "backend" / "openstack" / server_id
        (directory / "vdb").symlink_to("../../volumes/9")
        assert response.headers["Location"] == f"http://localhost/servers/{server_id}"
        assert nova.get(f"/servers/{server_id}", headers=DEMO).json["server"]["status"] == "ACTIVE"
        deleted = nova.delete(f"/servers/{server_id}", headers=DEMO, status=204)
        assert (deleted.body, "Content-Type" in deleted.headers) == (b"", False)
        assert not directory.exists()
        nova.get(f"/servers/{server_id}", headers=DEMO, status=404)
        nova.delete(f"/servers/{server_id}", headers=DEMO, status=404)

    def test_the_fixed_servers_have_directories_from_the_beginning(self, cyclades, tmp_path):
        directories = {path.name for path in (tmp_path / "backend" / "cyclades").iterdir()}
        assert directories == {"1134", "1135", "2001", "1140", "1141"}

    def test_cyclades_numbers_count_up_and_never_come_twice(self, cyclades):
        def create():
            return cyclades.post_json("/servers", {"server": {"name": "n"}}, headers=DEMO).json["server"]["id"]

        assert create() == 2002
        cyclades.delete("/servers/2002", headers=DEMO)
        assert create() == 2003

    def test_a_restart_keeps_what_was_made_and_deleted(self, make):
        first = make("cyclades")
        first.post_json("/servers", {"server": {"name": "new"}}, headers=DEMO)
        first.delete("/servers/1134", headers=DEMO)
        assert ids(make("cyclades").get("/servers", headers=DEMO)) == [1135, 1140, 1141, 2002]

    def test_a_server_of_another_project_is_not_deleted(self, cyclades):
        cyclades.delete("/servers/2001", headers=DEMO, status=404)
        cyclades.get("/servers/2001", headers=OTHER)

    def test_a_reader_neither_makes_nor_deletes(self, cyclades):
        assert "forbidden" in cyclades.delete("/servers/1134", headers=READER, status=403).json
        cyclades.post_json("/servers", {"server": {"name": "n"}}, headers=READER, status=403)

    @pytest.mark.parametrize("body", [b"", b"[]", b"{}", b"\xff", b'{"server": {}}', b'{"server": {"name": " "}}'])
    def test_a_body_without_a_name_is_a_bad_request(self, nova, body):
        response = nova.post("/servers", body, headers=DEMO, content_type="application/json", status=400)
        assert response.json["badRequest"]["code"] == 400


class TestPaging:
    def test_pages_follow_one_another_until_the_last(self, nova):
        seen, url = [], "/servers/detail?limit=3"
        while url:
            page = nova.get(url, headers=DEMO)
            seen.append(len(ids(page)))
            url = next((link["href"] for link in page.json.get("servers_links", ())), None)
        assert seen == [3, 1]

    @pytest.mark.parametrize("query", ["limit=-1", "limit=x", "limit=%D9%A3", "marker=nope"])
    def test_a_wrong_limit_or_marker_is_a_bad_request(self, nova, query):
        assert "badRequest" in nova.get(f"/servers?{query}", headers=DEMO, status=400).json


class TestProjectInPath:
    @pytest.fixture(params=[("openstack", WEB), ("cyclades", "1134")], ids=lambda param: param[0])
    def api(self, request, make):
        """Give the API of a dialect, and the id of a server of the project demo."""
        name, server_id = request.param
        return make(name), server_id

    def test_the_path_may_have_the_callers_project(self, api):
        app, server_id = api
        server = app.get(f"/demo/servers/{server_id}", headers=DEMO).json["server"]
        assert server["links"][0]["href"] == f"http://localhost/demo/servers/{server_id}"
        assert app.get(f"/servers/{server_id}", headers=DEMO).json["server"]["id"] == server["id"]
        assert ids(app.get("/demo/servers", headers=DEMO)) == ids(app.get("/servers", headers=DEMO))

    def test_another_project_in_the_path_is_a_bad_request(self, api):
        app, server_id = api
        fault = app.get(f"/other/servers/{server_id}", headers=DEMO, status=400).json["badRequest"]
        assert "doesn't match" in fault["message"]
        app.get(f"/demo/servers/{server_id}", headers=ADMIN, status=400)


class TestMicroversions:
    @pytest.mark.parametrize(
        ("headers", "expected"),
        [
            ({}, "2.1"),
            ({"OpenStack-API-Version": "compute 2.9"}, "2.9"),
            ({"OpenStack-API-Version": "volume 3.1, compute 2.3"}, "2.3"),
            ({"OpenStack-API-Version": "compute 2.8"}, "2.8"),
            ({"OpenStack-API-Version": "compute latest"}, "2.104"),
            ({"X-OpenStack-Nova-API-Version": "2.9"}, "2.9"),
            ({"OpenStack-API-Version": "volume 3.1"}, "2.1"),
        ],
    )
    def test_the_response_names_the_requested_version(self, nova, headers, expected):
        response = nova.get(f"/servers/{WEB}", headers=DEMO | headers)
        assert response.headers["OpenStack-API-Version"] == f"compute {expected}"
        assert response.headers["X-OpenStack-Nova-API-Version"] == expected
        assert "OpenStack-API-Version" in response.headers["Vary"]
        assert ("locked" in response.json["server"]) == (expected in ("2.9", "2.104"))

    @pytest.mark.parametrize(("version", "status"), [("2.105", 406), ("2.0", 406), ("3.0", 406), ("two", 400)])
    def test_a_version_that_is_not_spoken_is_refused(self, nova, version, status):
        nova.get("/servers", headers=DEMO | {"OpenStack-API-Version": f"compute {version}"}, status=status)

    def test_cyclades_has_no_versions(self, cyclades):
        response = cyclades.get("/servers", headers=DEMO | {"OpenStack-API-Version": "compute 2.99"})
        assert "OpenStack-API-Version" not in response.headers


class TestTheRestOfCompute:
    def test_the_openstack_dialect_lists_two_extensions_of_its_own(self, nova):
        aliases = [each["alias"] for each in nova.get("/extensions", headers=DEMO).json["extensions"]]
        assert len(aliases) == 2
        assert "os-volumes" not in aliases
        for alias in aliases:
            assert nova.get(f"/extensions/{alias}", headers=DEMO).json["extension"]["alias"] == alias
        nova.get("/extensions/os-volumes", headers=DEMO, status=404)

    def test_cyclades_has_no_extensions(self, cyclades):
        assert "itemNotFound" in cyclades.get("/extensions", headers=DEMO, status=404).json

    def test_there_is_one_flavor(self, nova, cyclades):
        assert [each["id"] for each in nova.get("/flavors", headers=DEMO).json["flavors"]] == ["1"]
        assert nova.get("/flavors/detail", headers=DEMO).json["flavors"][0]["ram"] == 512
        assert cyclades.get("/flavors/1", headers=DEMO).json["flavor"]["id"] == 1
        nova.get("/flavors/2", headers=DEMO, status=404)

    def test_without_a_token_there_is_only_the_version_document(self, nova):
        assert nova.get("/").json["version"]["id"] == "v2.1"
        response = nova.get("/servers", status=401)
        assert response.json["unauthorized"]["code"] == 401
        assert response.headers["WWW-Authenticate"].startswith("Keystone")

    def test_a_method_that_does_not_exist_is_named_so(self, nova, cyclades):
        response = nova.put("/servers", headers=DEMO, status=405)
        assert (response.headers["Allow"], list(response.json)) == ("GET, HEAD, POST", ["badMethod"])
        assert list(cyclades.put("/servers", headers=DEMO, status=405).json) == ["notAllowed"]

    def test_letters_that_are_not_utf8_are_no_internal_error(self, nova):
        nova.get("/servers?name=%FF", headers=DEMO, status=400)
        nova.get("/servers/%FF", headers=DEMO, status=404)

    @pytest.mark.parametrize(
        ("wrong", "named"),
        [
            ({"dialect": "xen"}, "dialect must be"),
            ({"state": "var/x.json"}, "state must be an absolute path"),
            ({"directories": "var"}, "directories must be an absolute path"),
            ({"colour": "red"}, "colour is not an option"),
            ({"dialect": ""}, "dialect is missing"),
        ],
    )
    def test_a_wrong_option_is_named(self, tmp_path, wrong, named):
        right = {"dialect": "cyclades", "state": str(tmp_path / "s"), "directories": str(tmp_path / "f")}
        with pytest.raises(ValueError, match=named):
            compute.app_factory({}, **right | wrong)


def by_password(name="demo", password="demo", scope=None, user=None):
    named = {"name": name, "domain": {"name": "Default"}}
    auth = {"identity": {"methods": ["password"], "password": {"user": {**(user or named), "password": password}}}}
    return {"auth": auth | ({"scope": scope} if scope else {})}


class TestIdentity:
    @pytest.mark.parametrize(
        "scope",
        [None, {"project": {"id": "demo"}}, {"project": {"name": "demo", "domain": {"id": "default"}}}],
    )
    def test_a_password_gets_the_static_token_of_the_project(self, keystone, scope):
        response = keystone.post_json("/auth/tokens", by_password(scope=scope), status=201)
        issued = response.json["token"]
        assert response.headers["X-Subject-Token"] == "demo-token"
        assert (issued["user"]["id"], issued["project"]["id"], issued["is_domain"]) == ("user-demo", "demo", False)
        assert [role["name"] for role in issued["roles"]] == ["member", "reader"]
        assert issued["methods"] == ["password"]

    def test_the_catalog_is_of_the_requests_own_host(self, keystone):
        response = keystone.post_json("/auth/tokens", by_password(), extra_environ={"HTTP_HOST": "cloud:81"})
        urls = {each["type"]: each["endpoints"][0]["url"] for each in response.json["token"]["catalog"]}
        assert urls["compute"] == "http://cloud:81/v2.1"
        assert urls["cyclades_compute"] == "http://cloud:81/compute/v2.0"
        assert urls["volumev3"] == "http://cloud:81/volume/v3/demo"
        assert len({each["name"] for each in response.json["token"]["catalog"]}) == 4

    @pytest.mark.parametrize("scope", ["unscoped", {"unscoped": {}}])
    def test_an_unscoped_token_has_no_project_and_no_catalog(self, keystone, scope):
        issued = keystone.post_json("/auth/tokens", by_password(scope=scope), status=201).json["token"]
        assert not {"project", "catalog", "roles"} & set(issued)

    def test_a_token_gets_a_token(self, keystone):
        auth = {"identity": {"methods": ["token"], "token": {"id": "other-token"}}}
        issued = keystone.post_json("/auth/tokens", {"auth": auth}, status=201).json["token"]
        assert issued["project"]["id"] == "other"

    @pytest.mark.parametrize(
        "body",
        [
            by_password(password="wrong"),
            by_password(name="nobody"),
            by_password(user={"id": "nobody"}),
            by_password(scope={"project": {"id": "other"}}),
            by_password(scope={"system": {"all": True}}),
            by_password(user={"name": "demo", "domain": {"name": "Elsewhere"}}),
            {"auth": {"identity": {"methods": ["token"], "token": {"id": "wrong"}}}},
            {"auth": {"identity": {"methods": ["totp"], "totp": {}}}},
        ],
    )
    def test_an_unknown_or_unauthorized_caller_is_refused(self, keystone, body):
        error = keystone.post_json("/auth/tokens", body, status=401).json["error"]
        assert (error["code"], error["title"]) == (401, "Unauthorized")

    @pytest.mark.parametrize(
        "body",
        [
            [],
            {},
            {"auth": {}},
            {"auth": {"identity": {"methods": "password"}}},
            {"auth": {"identity": {"methods": ["password"]}}},
            {"auth": {"identity": {"methods": ["token"], "token": {"id": []}}}},
            by_password(user={"name": "demo"}),
            by_password(scope=["project"]),
        ],
    )
    def test_a_malformed_body_is_a_bad_request(self, keystone, body):
        assert keystone.post_json("/auth/tokens", body, status=400).json["error"]["code"] == 400

    def test_a_token_is_validated_by_itself_and_by_an_administrator(self, keystone):
        subject = {"X-Subject-Token": "demo-token"}
        for caller in (DEMO, ADMIN):
            response = keystone.get("/auth/tokens", headers=caller | subject)
            assert response.json["token"]["user"]["name"] == "demo"
            assert keystone.head("/auth/tokens", headers=caller | subject).headers["X-Subject-Token"] == "demo-token"
        keystone.get("/auth/tokens", headers=OTHER | subject, status=403)
        keystone.get("/auth/tokens", headers=subject, status=401)
        keystone.get("/auth/tokens", headers=ADMIN | {"X-Subject-Token": "wrong"}, status=404)

    def test_projects_and_users_are_those_that_the_caller_may_see(self, keystone):
        def names(url, caller):
            return [project["name"] for project in keystone.get(url, headers=caller).json["projects"]]

        assert names("/auth/projects", DEMO) == ["demo"]
        assert names("/projects?name=other", ADMIN) == ["other"]
        assert names("/projects?name=other", DEMO) == []
        assert names("/users/user-demo/projects", DEMO) == ["demo"]
        assert keystone.get("/users/user-demo", headers=DEMO).json["user"]["name"] == "demo"
        assert keystone.get("/projects/demo", headers=READER).json["project"]["domain_id"] == "default"
        keystone.get("/users/user-other", headers=DEMO, status=404)
        keystone.get("/projects", status=401)

    def test_the_root_is_a_version_document(self, keystone):
        assert keystone.get("/").json["version"]["links"] == [{"rel": "self", "href": "http://localhost/"}]

    def test_a_wrong_option_is_named(self):
        with pytest.raises(ValueError, match="compute must be a path"):
            identity.app_factory({}, compute="v2.1")


class TestVersions:
    def test_both_compute_apis_are_listed_with_urls_of_the_requests_own_host(self):
        app = TestApp(versions.app_factory({}, compute="/v2.1", cyclades="/compute/v2.0"))
        listed = app.get("/", extra_environ={"HTTP_HOST": "cloud:81"}).json["versions"]
        assert {each["id"]: each["links"][0]["href"] for each in listed} == {
            "v2.0": "http://cloud:81/compute/v2.0/",
            "v2.1": "http://cloud:81/v2.1/",
        }

    def test_the_identity_list_is_in_keystones_form(self):
        response = TestApp(versions.app_factory({}, identity="/identity/v3")).get("/", status=300)
        assert response.json["versions"]["values"][0]["links"][0]["href"] == "http://localhost/identity/v3/"

    def test_anything_else_is_not_found_in_json(self):
        assert TestApp(versions.app_factory({})).get("/other", status=404).json["itemNotFound"]["code"] == 404

    def test_a_wrong_option_is_named(self):
        with pytest.raises(ValueError, match="volume is not an option"):
            versions.app_factory({}, volume="/v3")


def test_the_state_file_is_plain_json(make, tmp_path):
    make("cyclades").delete("/servers/1134", headers=DEMO)
    state = json.loads((tmp_path / "var" / "cyclades" / "servers.json").read_text())
    assert [server["id"] for server in state["servers"]] == ["1135", "2001", "1140", "1141"]


def test_an_edited_state_file_is_what_is_served(make, tmp_path):
    make("cyclades")
    state = tmp_path / "var" / "cyclades" / "servers.json"
    state.write_text(state.read_text().replace('"1134"', '"77"'))
    assert make("cyclades").get("/servers/77", headers=DEMO).json["server"]["name"] == "web"
    assert (tmp_path / "backend" / "cyclades" / "77").is_dir()


@pytest.mark.parametrize("text", ["", "[]", '{"servers": []}', '{"servers": [{"colour": "red"}], "made": 0}'])
def test_a_state_file_of_others_is_named(make, tmp_path, text):
    state = tmp_path / "var" / "cyclades" / "servers.json"
    state.parent.mkdir(parents=True)
    state.write_text(text)
    with pytest.raises(ConfigurationError, match=r"^state is '.*': it is not a file that this application"):
        make("cyclades")


def test_without_the_option_directories_the_servers_have_none(tmp_path):
    app = TestApp(
        static_tokens.filter_factory({})(
            compute.app_factory({}, dialect="cyclades", state=str(tmp_path / "servers.json"))
        )
    )
    server = app.post_json("/servers", {"server": {"name": "one"}}, headers=DEMO).json["server"]["id"]
    app.delete(f"/servers/{server}", headers=DEMO)
    assert {path.name for path in tmp_path.iterdir()} == {"servers.json", "servers.json.lock"}


def test_every_root_volume_is_of_a_server_that_exists():
    for dialect, roots in data.ROOT_VOLUMES.items():
        servers = {server.id: server.project_id for server in data.SERVERS[dialect]}
        assert all(servers[root.server_id] == root.project_id for root in roots)
