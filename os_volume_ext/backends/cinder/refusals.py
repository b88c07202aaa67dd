"""What Cinder's refusals mean to a caller."""

from ...errors import AttachRefused, BackendError, BackendUnavailable, RequestRefused
from ...models import Volume

_STATUSES = {
    "in-use": "is attached to another server",
    "reserved": "is reserved for another server",
    "attaching": "is being attached to another server",
    "detaching": "is being detached from another server",
    "deleting": "is being deleted",
    "creating": "is not created yet",
    "maintenance": "is in maintenance",
    "retyping": "is being retyped or migrated",
    "backing-up": "is being backed up",
    "restoring-backup": "is being restored",
    "extending": "is being extended",
    "uploading": "is being uploaded as an image",
    "awaiting-transfer": "awaits its transfer to another project",
}


def refused(error: RequestRefused, volume: Volume, status: str | None) -> BackendError:
    """Return the exception for a refusal to attach a volume, before anything was changed.

    :param error: Cinder's response.
    :param volume: the volume.
    :param status: the volume's status after it; None if it is not known.
    """
    match error.status:
        case 404:
            return AttachRefused(f"Volume {volume.id} does not exist in Cinder.")
        case 400 | 409 | 413:
            return AttachRefused(_reason(error, volume, status))
    return BackendUnavailable(str(error))


def _reason(error: RequestRefused, volume: Volume, status: str | None) -> str:
    if status in (None, "available"):
        return f"Cinder refused to attach volume {volume.id}: {error.reason or error.status}"
    described = _STATUSES.get(str(status), f"is in status {status}")
    return f"Volume {volume.id} {described} (its status in Cinder is {status})."
