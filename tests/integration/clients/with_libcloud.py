"""apache-libcloud's OpenStack driver, which sees in the volumes where they are attached."""

from typing import Any

from libcloud.compute.drivers.openstack import OpenStackNodeDriver
from libcloud.compute.providers import get_driver
from libcloud.compute.types import Provider


class Client:
    """A user; a volume is kept as it was last read."""

    def __init__(self, credentials: dict[str, str]) -> None:
        self._driver: OpenStackNodeDriver = get_driver(Provider.OPENSTACK)(
            credentials["username"],
            credentials["password"],
            api_version="2.2",
            ex_force_auth_url=credentials["auth_url"].removesuffix("/v3"),
            ex_force_auth_version="3.x_password",
            ex_tenant_name=credentials["project_name"],
            ex_force_service_region="RegionOne",
        )
        self._volumes: dict[str, Any] = {}

    def attach(self, server: str, volume: str) -> dict[str, Any]:
        assert self._driver.attach_volume(self._driver.ex_get_node_details(server), self._driver.ex_get_volume(volume))
        return self.show(server, volume)

    def show(self, server: str, volume: str) -> dict[str, Any]:
        self._volumes[volume] = found = self._driver.ex_get_volume(volume)
        [shown] = _shown(found, server)
        return shown

    def list(self, server: str) -> list[dict[str, Any]]:
        return [shown for volume in self._driver.list_volumes() for shown in _shown(volume, server)]

    def detach(self, server: str, volume: str) -> None:
        assert self._driver.detach_volume(self._volumes[volume], self._driver.ex_get_node_details(server))


def _shown(volume: Any, server: str) -> list[dict[str, Any]]:
    return [
        {"device": each["device"], "serverId": server, "id": each["id"], "volumeId": each["volume_id"]}
        for each in volume.extra["attachments"]
        if each["server_id"] == server
    ]
