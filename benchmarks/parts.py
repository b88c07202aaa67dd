"""The steps of showing one attachment: the time of each, as a share of the whole."""

from collections.abc import Iterator

from os_volume_ext.api.dialects import OPENSTACK
from os_volume_ext.api.responses import make_response
from os_volume_ext.api.routing import Router
from os_volume_ext.api.serializers import JSON
from os_volume_ext.registry.attachments import Registry
from os_volume_ext.registry.database import Database

from . import show
from .harness import SERVER, harness, send_request
from .measure import Finding, measure
from .rows import fill, volume_ids

DIALECT = "openstack"


def run() -> Iterator[Finding]:
    request, server_id = show.show_request(DIALECT), SERVER[DIALECT]
    volume_id, *_ = volumes = volume_ids(DIALECT, show.ROWS)
    with harness(DIALECT) as (filtered, _, path):
        fill(path, ((each, server_id) for each in volumes))
        database = Database({"url": f"sqlite:///{path}"})
        registry, match = Registry(database), Router().match
        row = registry.get_visible(server_id, volume_id)
        body = JSON.attachment(OPENSTACK.show(row))
        steps = {
            "routing": lambda: match(request["PATH_INFO"]),
            "registry": lambda: registry.get_visible(server_id, volume_id),
            "serialization": lambda: JSON.attachment(OPENSTACK.show(row)),
            "response": lambda: make_response(200, body, JSON, "req-1")(request, lambda *response: None),
        }
        whole, *each = measure(lambda: send_request(filtered, dict(request), "200 OK"), *steps.values())
        costs = dict(zip(steps, each, strict=True)) | {"look-up, policy and the rest": whole - sum(each)}
        for name, seconds in costs.items():
            yield Finding(f"part of a show: {name}", whole, seconds)
        database.dispose()
