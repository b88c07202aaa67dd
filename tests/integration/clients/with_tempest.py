"""tempest's client of the servers API, which checks each response by a JSON schema."""

from typing import Any

from tempest.lib import auth
from tempest.lib.services.compute import base_compute_client
from tempest.lib.services.compute.servers_client import ServersClient


class Client:
    """A user at a microversion."""

    def __init__(self, credentials: dict[str, str], version: str | None = None) -> None:
        base_compute_client.COMPUTE_MICROVERSION = version
        user = {name: value for name, value in credentials.items() if name != "auth_url"}
        provider = auth.KeystoneV3AuthProvider(auth.KeystoneV3Credentials(**user), credentials["auth_url"])
        self._servers = ServersClient(provider, "compute", "RegionOne")

    def attach(self, server: str, volume: str) -> dict[str, Any]:
        return self._servers.attach_volume(server, volumeId=volume)["volumeAttachment"]

    def attach_described(self, server: str, volume: str, **described: Any) -> dict[str, Any]:
        return self._servers.attach_volume(server, volumeId=volume, **described)["volumeAttachment"]

    def describe(self, server: str, volume: str) -> dict[str, Any]:
        return self.show(server, volume)

    def update(self, server: str, volume: str, wanted: str, **changes: Any) -> None:
        self._servers.update_attached_volume(server, volume, volumeId=wanted, **changes)

    def show(self, server: str, volume: str) -> dict[str, Any]:
        return self._servers.show_volume_attachment(server, volume)["volumeAttachment"]

    def list(self, server: str) -> list[dict[str, Any]]:
        return self._servers.list_volume_attachments(server)["volumeAttachments"]

    def detach(self, server: str, volume: str) -> None:
        self._servers.detach_volume(server, volume)
