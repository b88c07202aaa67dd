"""A process with our filter before a compute API that knows every server; run, it attaches and detaches.

``python compute.py DIRECTORY URL TOPIC COUNT`` attaches and detaches a volume so often, and prints the statuses and the
seconds that the slowest request took.
"""

import json
import logging
import sys
import time
from pathlib import Path

import webob

from os_volume_ext.backends.base import Volume
from os_volume_ext.catalog.sql import SQLCatalog
from os_volume_ext.filter import make_filter
from os_volume_ext.registry.database import Database

SERVER = "4335bab6-6086-4247-8274-8b8b048edaaa"
VOLUME = "a26887c6-c47b-4654-abb5-dfadf7d3f803"
IDENTITY = {"X-Identity-Status": "Confirmed", "X-User-Id": "alice", "X-Project-Id": "demo", "X-Roles": "member"}


def options(directory, url, topic):
    """Return the filter's options."""
    return {
        "dialect": "openstack",
        "database.url": f"sqlite:///{directory}/volumes.db",
        "backend": "directory",
        "backend.root": str(directory),
        "notifications.transport_url": url,
        "notifications.topics": topic,
    }


def show(environ, start_response):
    """Show the server."""
    server = {"id": SERVER, "tenant_id": "demo", "status": "ACTIVE"}
    return webob.Response(json_body={"server": server})(environ, start_response)


def serve(directory, url, topic):
    """Return the application; its one volume can be attached to its one server."""
    application = make_filter(show, **options(directory, url, topic))
    (directory / "servers" / SERVER).mkdir(exist_ok=True)
    database = Database({"url": f"sqlite:///{directory}/volumes.db"})
    SQLCatalog({}, database).create(Volume(VOLUME, "demo"))
    database.dispose()
    return application


def send_request(application, method, volume="", **body):
    """Return the response to a request."""
    path = f"/servers/{SERVER}/os-volume_attachments{volume and f'/{volume}'}"
    request = webob.Request.blank(path, method=method, headers=IDENTITY, environ={"keystone.token_info": {}})
    if body:
        request.json_body, request.content_type = body, "application/json"
    return request.get_response(application)


def attach(application):
    return send_request(application, "POST", volumeAttachment={"volumeId": VOLUME})


def detach(application):
    return send_request(application, "DELETE", VOLUME)


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING, format="%(name)s %(message)s")
    directory, url, topic, count = sys.argv[1:]
    application = serve(Path(directory), url, topic)
    statuses, slowest = set(), 0.0
    for _ in range(int(count)):
        for operation in (attach, detach):
            start = time.monotonic()
            statuses.add(operation(application).status_code)
            slowest = max(slowest, time.monotonic() - start)
    print(json.dumps({"statuses": sorted(statuses), "slowest": slowest}))
