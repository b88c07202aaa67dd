"""openstacksdk: its compute proxy, and the cloud layer's calls that wait."""

from typing import Any

import openstack


class Client:
    """A user at the microversion that the SDK and the compute API agree on."""

    def __init__(self, credentials: dict[str, str], version: str | None = None) -> None:
        self._cloud = openstack.connect(**credentials, compute_default_microversion=version)
        self._compute = self._cloud.compute

    def attach(self, server: str, volume: str) -> dict[str, Any]:
        return _shown(self._compute.create_volume_attachment(server, volume_id=volume))

    def attach_described(self, server: str, volume: str, **described: Any) -> dict[str, Any]:
        return _described(self._compute.create_volume_attachment(server, volume_id=volume, **described))

    def describe(self, server: str, volume: str) -> dict[str, Any]:
        return _described(self._compute.get_volume_attachment(server, volume))

    def update(self, server: str, volume: str, wanted: str, **changes: Any) -> None:
        self._compute.update_volume_attachment(server, volume, wanted, **changes)

    def show(self, server: str, volume: str) -> dict[str, Any]:
        return _shown(self._compute.get_volume_attachment(server, volume))

    def list(self, server: str) -> list[dict[str, Any]]:
        return [_shown(each) for each in self._compute.volume_attachments(server)]

    def detach(self, server: str, volume: str) -> None:
        self._compute.delete_volume_attachment(server, volume, ignore_missing=False)

    def attach_and_wait(self, server: str, volume: str) -> str:
        self._cloud.attach_volume(self._cloud.get_server(server), self._cloud.get_volume(volume), wait=True, timeout=30)
        return str(self._cloud.get_volume(volume).status)

    def detach_and_wait(self, server: str, volume: str) -> str:
        self._cloud.detach_volume(self._cloud.get_server(server), self._cloud.get_volume(volume), wait=True, timeout=30)
        return str(self._cloud.get_volume(volume).status)


def _shown(attachment: Any) -> dict[str, Any]:
    return {
        "device": attachment.device,
        "serverId": attachment.server_id,
        "id": attachment.id,
        "volumeId": attachment.volume_id,
    }


def _described(attachment: Any) -> dict[str, Any]:
    return {name: getattr(attachment, name) for name in ("tag", "delete_on_termination", "attachment_id")} | {
        "bdm_uuid": attachment.bdm_id,
        **_shown(attachment),
    }
