"""Asks Nova's own JSON schemas; the interpreter of Nova's virtualenv runs it.

It reads a list of ``[OPERATION, WHAT, VERSION, DOCUMENT]`` in JSON, where OPERATION is such as ``servers.show`` and
WHAT is ``request_body``, ``request_query`` or ``response_body``, and writes a list of Nova's errors: null
where it is valid.
"""

import json
import sys
from types import SimpleNamespace

from nova import exception
from nova.api.openstack.api_version_request import APIVersionRequest
from nova.api.openstack.compute.flavors import FlavorsController
from nova.api.openstack.compute.servers import ServersController
from nova.api.openstack.compute.volume_attachments import VolumeAttachmentController
from nova.api.validation import validators

CONTROLLERS = {
    "attachments": VolumeAttachmentController,
    "servers": ServersController,
    "flavors": FlavorsController,
}


def complaint(operation, what, version, document):
    """Return Nova's error for a document, None if it is valid."""
    controller, method = operation.split(".")
    schemas = getattr(getattr(CONTROLLERS[controller], method), f"{what}_schemas")
    schema = schemas(SimpleNamespace(api_version_request=APIVersionRequest(version)))
    try:
        validators._SchemaValidator(schema, is_body=what != "request_query").validate(document)
    except exception.ValidationError as error:
        return str(error)
    return None


if __name__ == "__main__":
    json.dump([complaint(*question) for question in json.load(sys.stdin)], sys.stdout)
