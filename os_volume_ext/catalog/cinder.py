"""A catalog in Cinder. Volumes are looked up as the caller sees them, and deleted with the credentials of a service."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ..context import RequestContext
from ..errors import RequestFailed, RequestRefused
from ..models import Volume, is_size
from ..outbound.cinder import UUID, Cinder, Deadline, is_missing
from ..outbound.documents import MALFORMED
from .base import TIME_LIMIT, CatalogUnavailable, Database, VolumeAttached, VolumeCatalog, VolumeNotFound

_TIMEOUT = TIME_LIMIT - 2  # seconds
_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 1.0  # seconds between two requests that look whether a volume is deleted
GIB = 2**30
"""The unit of Cinder's sizes, in bytes."""
_PROJECT = "os-vol-tenant-attr:tenant_id"


class CinderCatalog(VolumeCatalog):
    """Volumes of Cinder; needs its ``endpoint`` or finds it in the service user's catalog of services."""

    can_delete = True

    def __init__(self, options: Mapping[str, str], database: Database) -> None:
        """Read the options.

        :param options: see :class:`Cinder`.
        :param database: not used.
        :raises ConfigurationError: if one is missing, unknown or invalid.
        """
        self._cinder = Cinder("catalog.", options)

    def volume(self, context: RequestContext, volume_id: str) -> Volume:
        """Return a volume; one that is being deleted is not found.

        :raises VolumeNotFound: if there is none, or the caller may not see it.
        :raises CatalogUnavailable: if Cinder or Keystone fails.
        """
        document = self._show(volume_id, Deadline(_TIMEOUT), context)
        project_id = document.get(_PROJECT)
        if project_id is None and context.project_id is not None and not context.is_admin:
            project_id = context.project_id  # only its own volumes are shown to it
        if not isinstance(project_id, str):
            raise CatalogUnavailable(f"Cinder does not show {_PROJECT} of volume {volume_id}: check Cinder's policy")
        return Volume(volume_id, project_id, multiattach=document["multiattach"], size=_size(document))

    def check(self) -> None:
        """Check that volumes can be looked up and deleted.

        :raises CatalogUnavailable: if not.
        """
        with _translated():
            self._cinder.check(Deadline(_TIMEOUT))

    def delete(self, *, volume_id: str, server_id: str | None = None, project_id: str | None = None) -> None:
        """Delete a volume, and first its attachments to a deleted server; wait until it is gone.

        :raises VolumeNotFound: if there is none.
        :raises VolumeAttached: if another server has it.
        :raises CatalogUnavailable: if Cinder or Keystone fails, or refuses to delete it for another reason.
        """
        deadline = Deadline(_TIMEOUT)
        document = self._show(volume_id, deadline)
        if project_id not in (None, document.get(_PROJECT)):
            raise VolumeNotFound(volume_id)
        with _translated():
            if document["status"] != "available":
                self._delete_attachments(volume_id, server_id, deadline)
            self._delete(volume_id, deadline)
        pause = _FIRST_PAUSE
        while self._exists(volume_id, deadline):
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)  # Cinder deletes one volume after the other, and all of them ask

    def _show(self, volume_id: str, deadline: Deadline, context: RequestContext | None = None) -> Mapping[str, Any]:
        document = self._document(volume_id, deadline, context)
        if document["status"] == "deleting":
            raise VolumeNotFound(volume_id)
        return document

    def _document(self, volume_id: str, deadline: Deadline, context: RequestContext | None = None) -> Mapping[str, Any]:
        if not UUID.match(volume_id):
            raise VolumeNotFound(volume_id)
        token = context and context.environ.get("HTTP_X_AUTH_TOKEN")
        caller = (str(token), context.project_id) if context and token else None
        with _translated(volume_id, hidden=caller is not None):
            found = self._cinder.request("GET", f"/volumes/{volume_id}", deadline, caller=caller)
            return _read(found, volume_id)

    def _delete_attachments(self, volume_id: str, server_id: str | None, deadline: Deadline) -> None:
        """Delete the attachments of a volume to a deleted server, unless another server has the volume too."""
        path = f"/attachments?all_tenants=1&volume_id={volume_id}"
        attachments = self._cinder.request("GET", path, deadline)["attachments"]
        if any(each["instance"] != server_id for each in attachments):
            raise VolumeAttached(f"Volume {volume_id} is attached to another server.")
        for each in attachments:
            self._cinder.request("DELETE", f"/attachments/{each['id']}", deadline)

    def _delete(self, volume_id: str, deadline: Deadline) -> None:
        try:
            self._cinder.request("DELETE", f"/volumes/{volume_id}", deadline)
        except RequestRefused as error:
            if error.status != 400:
                raise
            status = self._show(volume_id, deadline)["status"]
            if status in ("in-use", "reserved", "attaching", "detaching"):
                raise VolumeAttached(f"Volume {volume_id} is {status}.") from error
            raise

    def _exists(self, volume_id: str, deadline: Deadline) -> bool:
        try:
            status = self._document(volume_id, deadline)["status"]
        except VolumeNotFound:
            return False
        if status != "deleting":
            raise CatalogUnavailable(f"Cinder did not delete volume {volume_id}: it is in status {status}")
        return True


def _read(document: Mapping[str, Any], volume_id: str) -> Mapping[str, Any]:
    """Return a volume's document; the exceptions are ``MALFORMED``."""
    volume: Mapping[str, Any] = document["volume"]
    if volume["id"] != volume_id:
        raise ValueError(f"Cinder returned volume {volume['id']!r}")
    if not isinstance(volume["status"], str) or not isinstance(volume["multiattach"], bool):
        raise TypeError("a volume's status must be a string, and multiattach a boolean")
    if not is_size(volume["size"] or None):
        raise TypeError("a volume's size must be an integer")
    return volume


def _size(document: Mapping[str, Any]) -> int | None:
    """Return a volume's bytes; None while Cinder does not know, or is changing it."""
    if not document["size"] or document["status"] == "extending":
        return None
    return int(document["size"]) * GIB


@contextmanager
def _translated(volume_id: str = "", *, hidden: bool = False) -> Iterator[None]:
    """Raise what a catalog may raise.

    :param volume_id: the requested volume; "" where a missing volume is no special case.
    :param hidden: whether a volume that is forbidden counts as missing.
    """
    try:
        yield
    except RequestRefused as error:
        if volume_id and (is_missing(error) or (hidden and error.status == 403)):
            raise VolumeNotFound(volume_id) from error
        raise CatalogUnavailable(str(error)) from error
    except RequestFailed as error:
        raise CatalogUnavailable(str(error)) from error
    except MALFORMED as error:
        raise CatalogUnavailable(f"Cinder's response is invalid: {error!r:.300}") from error
