"""Rows of the registry."""

import dataclasses

from os_volume_ext.models import ATTACHING, Attachment


def attachment(volume_id="9", server_id="1134", **more):
    """Return a row of an exclusive volume that is being attached, or one that differs as ``more`` names it."""
    row = Attachment(
        volume_id=volume_id,
        server_id=server_id,
        project_id="demo",
        exclusive=True,
        device=None,
        root=False,
        state=ATTACHING,
        request_id="req-1",
        host=None,
        instance_name=None,
        source=None,
        format=None,
    )
    return dataclasses.replace(row, **more)
