"""The cinder catalog passes the tests that every catalog has to pass, with a real Cinder."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from os_volume_ext.catalog.base import RequestContext, Volume
from os_volume_ext.catalog.cinder import GIB, CinderCatalog
from os_volume_ext.testing import CatalogContract
from tests.integration.cinder.real_cinder import Cinder
from tests.support.proxy import Proxy
from tests.support.real_keystone import People
from tests.support.waiting import wait_until


@pytest.fixture
def proxy(cinder: Cinder) -> Iterator[Proxy]:
    """Give a proxy in front of Cinder's API."""
    proxy = Proxy("127.0.0.1", cinder.port)
    yield proxy
    proxy.refuse()


@contextlib.contextmanager
def while_down(proxy: Proxy, how: Callable[[], None]) -> Iterator[None]:
    """Let a proxy refuse or hang meanwhile."""
    how()
    yield
    proxy.come_back()


class TestCinderCatalog(CatalogContract):
    """What CinderCatalog can do, and how its storage is changed and fails."""

    catalog_class = CinderCatalog
    can_delete = True
    multiattach = True

    @pytest.fixture
    def options(self, options: Mapping[str, str], proxy: Proxy) -> Mapping[str, str]:
        return {**options, "endpoint": f"http://127.0.0.1:{proxy.port}/v3"}

    @pytest.fixture
    def wrong_options(self) -> Sequence[tuple[str, str | None]]:
        return [
            ("auth_type", None),
            ("auth_type", "no_such_plugin"),
            ("endpoint", "controller:8776"),
            ("insecure", "perhaps"),
            ("cafile", "/no/such/file"),
            ("auth_url", None),
        ]

    @pytest.fixture
    def project_id(self, people: People) -> str:
        return people.projects["here"]

    @pytest.fixture
    def other_project_id(self, people: People) -> str:
        return people.projects["there"]

    @pytest.fixture
    def owner(self, people: People) -> Callable[[str], str]:
        """Give ``owner(project_id)``: the token of a member."""
        return lambda project_id: people.tokens["member" if project_id == people.projects["here"] else "outsider"]

    @pytest.fixture
    def context(self, owner: Callable[[str], str], project_id: str) -> RequestContext:
        credentials = {"project_id": project_id}
        return RequestContext("req-contract", credentials, lambda *_: True, {"HTTP_X_AUTH_TOKEN": owner(project_id)})

    @pytest.fixture
    def new_volume(self, cinder: Cinder, owner: Callable[[str], str], multiattach_type: str) -> Callable[..., Volume]:
        def new_volume(project_id: str, multiattach: bool = False) -> Volume:
            kind = {"volume_type": multiattach_type} if multiattach else {}
            volume_id = cinder.new_volume(owner(project_id), project_id, **kind)
            return Volume(volume_id, project_id, multiattach=multiattach, size=GIB)

        return new_volume

    @pytest.fixture
    def new_volumes(self, cinder: Cinder, owner: Callable[[str], str], project_id: str) -> Callable[[int], Any]:
        def new_volumes(count: int) -> list[Volume]:
            ids = cinder.new_volumes(count, owner(project_id), project_id)
            return [Volume(each, project_id, size=GIB) for each in ids]

        return new_volumes

    @pytest.fixture
    def remove_volume(self, cinder: Cinder, owner: Callable[[str], str]) -> Callable[[Volume], None]:
        def remove_volume(volume: Volume) -> None:
            token = owner(volume.project_id)
            assert cinder.send("DELETE", token, volume.project_id, f"/volumes/{volume.id}").ok
            assert wait_until(lambda: cinder.status(token, volume.project_id, volume.id) is None)

        return remove_volume

    @pytest.fixture
    def change_volume(
        self, cinder: Cinder, owner: Callable[[str], str], multiattach_type: str
    ) -> Callable[[Volume], Volume]:
        def change_volume(volume: Volume) -> Volume:
            token, path = owner(volume.project_id), f"/volumes/{volume.id}"
            retype = {"os-retype": {"new_type": multiattach_type, "migration_policy": "never"}}
            assert cinder.send("POST", token, volume.project_id, f"{path}/action", retype).ok
            assert wait_until(
                lambda: cinder.send("GET", token, volume.project_id, path).json()["volume"]["multiattach"]
            )
            return replace(volume, multiattach=True)

        return change_volume

    @pytest.fixture
    def attach(self, cinder: Cinder, people: People) -> Callable[[str, Volume], None]:
        def attach(server_id: str, volume: Volume) -> None:
            cinder.attach(people.tokens["volumes"], people.projects["service"], server_id, volume.id)

        return attach

    @pytest.fixture
    def outage(self, proxy: Proxy) -> Callable[[], Any]:
        return lambda: while_down(proxy, proxy.refuse)

    @pytest.fixture
    def stall(self, proxy: Proxy) -> Callable[[], Any]:
        return lambda: while_down(proxy, proxy.hang)

    def test_an_extended_volume_has_its_new_size(
        self,
        cinder: Cinder,
        owner: Callable[[str], str],
        catalog: CinderCatalog,
        context: RequestContext,
        volume: Volume,
    ) -> None:
        token = owner(volume.project_id)
        extend = {"os-extend": {"new_size": 2}}
        assert cinder.send("POST", token, volume.project_id, f"/volumes/{volume.id}/action", extend).ok
        assert wait_until(lambda: cinder.status(token, volume.project_id, volume.id) == "available")
        assert catalog.volume(context, volume.id).size == 2 * GIB
