"""The sample's block-storage API: the volumes of the catalog, with their state in the registry."""

import dataclasses

import pytest
from webtest import TestApp

from os_volume_ext.backends.base import ConfigurationError, Volume
from os_volume_ext.catalog.sql import SQLCatalog
from os_volume_ext.demo import block_storage, static_tokens
from os_volume_ext.models import ATTACHED, ATTACHING, DETACHING, REATTACHING, Attachment
from os_volume_ext.registry.attachments import Registry

WEB, MAIL = "4335bab6-6086-4247-8274-8b8b048edaaa", "20f0cb44-7b00-4019-a612-364777cd2931"
FIRST, SECOND = "a26887c6-c47b-4654-abb5-dfadf7d3f803", "a26887c6-c47b-4654-abb5-dfadf7d3f804"
OTHERS = "b7d0e9a4-54c1-4a3e-8a44-6f1f0b9a2c11"
BASE = "/volume/v3/demo/volumes"
DEMO, READER, OTHER, ADMIN = ({"X-Auth-Token": f"{name}-token"} for name in ("demo", "reader", "other", "admin"))


def ids(response):
    return [volume["id"] for volume in response.json["volumes"]]


class TestInTheSample:
    def test_a_volume_is_in_use_from_when_it_is_attached_until_it_is_detached(self, sample):
        attachments = f"/v2.1/servers/{WEB}/os-volume_attachments"

        def volume():
            return sample.get(f"{BASE}/{FIRST}", headers=DEMO).json["volume"]

        assert (volume()["status"], volume()["attachments"]) == ("available", [])
        sample.post_json(attachments, {"volumeAttachment": {"volumeId": FIRST}}, headers=DEMO)
        shown = {"id": FIRST, "volume_id": FIRST, "server_id": WEB, "device": "/dev/vdb"}
        assert (volume()["status"], volume()["attachments"]) == ("in-use", [shown])
        assert sample.get(f"{BASE}/detail", headers=DEMO).json["volumes"][0] == volume()
        sample.delete(f"{attachments}/{FIRST}", headers=DEMO)
        assert (volume()["status"], volume()["attachments"]) == ("available", [])

    @pytest.mark.changes_nothing
    def test_everyone_sees_the_volumes_of_the_own_project_only(self, sample):
        assert (
            ids(sample.get(BASE, headers=DEMO)) == ids(sample.get(f"{BASE}/detail", headers=READER)) == [FIRST, SECOND]
        )
        assert ids(sample.get("/volume/v3/other/volumes?all_tenants=1", headers=OTHER)) == [OTHERS]
        response = sample.get(f"{BASE}/{OTHERS}", headers=DEMO, status=404)
        assert response.json == {"itemNotFound": {"code": 404, "message": f"Volume {OTHERS} could not be found."}}
        sample.get(f"{BASE}/nothing", headers=DEMO, status=404)

    @pytest.mark.changes_nothing
    def test_an_administrator_sees_all_volumes_on_request(self, sample):
        assert ids(sample.get("/volume/v3/admin/volumes", headers=ADMIN)) == []
        assert ids(sample.get("/volume/v3/admin/volumes/detail?all_tenants=1", headers=ADMIN)) == [
            FIRST,
            SECOND,
            OTHERS,
        ]
        assert sample.get(f"/volume/v3/admin/volumes/{OTHERS}", headers=ADMIN).json["volume"]["id"] == OTHERS

    @pytest.mark.changes_nothing
    def test_a_list_comes_in_pages_and_without_details_it_has_only_names_and_links(self, sample):
        first = sample.get(f"{BASE}?limit=1", headers=DEMO)
        assert [volume.keys() for volume in first.json["volumes"]] == [{"id", "name", "links"}]
        [following] = first.json["volumes_links"]
        second = sample.get(following["href"], headers=DEMO)
        assert (ids(second), "volumes_links" in second.json) == ([SECOND], False)
        sample.get(f"{BASE}?marker={OTHERS}", headers=DEMO, status=400)

    @pytest.mark.changes_nothing
    def test_no_volume_has_a_name(self, sample):
        assert ids(sample.get(f"{BASE}?name=data", headers=DEMO)) == []

    @pytest.mark.changes_nothing
    def test_an_unauthorized_caller_is_refused(self, sample):
        assert sample.get(BASE, status=401).json["unauthorized"]["code"] == 401
        fault = sample.get("/volume/v3/other/volumes", headers=DEMO, status=400).json["badRequest"]
        assert "doesn't match" in fault["message"]
        assert "badMethod" in sample.delete(f"{BASE}/{FIRST}", headers=DEMO, status=405).json

    @pytest.mark.changes_nothing
    def test_the_root_is_a_version_document_in_cinders_form(self, sample):
        [version] = sample.get("/volume/v3/").json["versions"]
        assert (version["id"], version["version"], version["links"][0]["href"]) == (
            "v3.0", "3.0", "http://localhost/volume/v3/",
        )  # fmt: skip


class TestStatus:
    @pytest.fixture
    def status(self, database):
        """Give ``status(STATE_ON_WEB[, STATE_ON_MAIL])``: a volume's status, and its servers."""
        registry, catalog = Registry(database), SQLCatalog({}, database)
        app = TestApp(
            static_tokens.StaticTokens(block_storage.BlockStorageApplication(database, SQLCatalog({}, database)))
        )
        catalog.create(Volume(FIRST, "demo", multiattach=True))
        row = Attachment(FIRST, WEB, "demo", False, None, False, ATTACHING, "req-1", None, None, None, None)

        def of(*states):
            for server_id, state in zip((WEB, MAIL), states, strict=False):
                registry.reserve(dataclasses.replace(row, server_id=server_id, state=state))
            volume = app.get(f"/demo/volumes/{FIRST}", headers=DEMO).json["volume"]
            return volume["status"], {attachment["server_id"] for attachment in volume["attachments"]}

        return of

    def test_it_is_the_registrys_state_in_cinders_words(self, status):
        assert status() == ("available", set())
        assert status(ATTACHING) == ("attaching", set())

    def test_a_volume_that_is_being_detached_is_still_on_its_server(self, status):
        assert status(DETACHING) == ("detaching", {WEB})

    def test_a_volume_that_is_being_attached_again_is_in_use(self, status):
        assert status(REATTACHING) == ("in-use", {WEB})

    def test_a_volume_on_several_servers_is_in_use_while_one_has_it(self, status):
        assert status(DETACHING, ATTACHED) == ("in-use", {WEB, MAIL})


class TestOptions:
    def test_a_wrong_section_is_named_with_those_that_there_are(self, start, paste_file):
        path = paste_file()
        path.write_text(path.read_text().replace("filter = volumes_openstack", "filter = volumes"))
        with pytest.raises(ConfigurationError, match="filter is 'volumes': it may be one of volumes_cyclades, volumes"):
            start(path)

    def test_a_wrong_option_is_named(self):
        with pytest.raises(ValueError, match="colour is not an option"):
            block_storage.app_factory({}, filter="volumes", colour="red")
        with pytest.raises(ValueError, match="filter is missing"):
            block_storage.app_factory({})
