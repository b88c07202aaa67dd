"""python-novaclient's Python API."""

from typing import Any

from keystoneauth1 import identity, session
from novaclient import client


class Client:
    """A user at a microversion."""

    def __init__(self, credentials: dict[str, str], version: str = "2.1") -> None:
        auth = identity.Password(**credentials)
        self._volumes = client.Client(version, session=session.Session(auth)).volumes

    def attach(self, server: str, volume: str) -> dict[str, Any]:
        return _shown(self._volumes.create_server_volume(server, volume))

    def attach_described(self, server: str, volume: str, **described: Any) -> dict[str, Any]:
        return dict(self._volumes.create_server_volume(server, volume, **described).to_dict())

    def describe(self, server: str, volume: str) -> dict[str, Any]:
        return dict(self._volumes.get_server_volume(server, volume).to_dict())

    def update(self, server: str, volume: str, wanted: str, **changes: Any) -> None:
        self._volumes.update_server_volume(server, volume, wanted, **changes)

    def show(self, server: str, volume: str) -> dict[str, Any]:
        return _shown(self._volumes.get_server_volume(server, volume))

    def list(self, server: str) -> list[dict[str, Any]]:
        return [_shown(each) for each in self._volumes.get_server_volumes(server)]

    def detach(self, server: str, volume: str) -> None:
        self._volumes.delete_server_volume(server, volume)


def _shown(attachment: Any) -> dict[str, Any]:
    return {name: getattr(attachment, name) for name in ("device", "serverId", "id", "volumeId")}
