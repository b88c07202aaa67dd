"""The cost of showing one attachment, against the same look-ups and the same response without a framework."""

import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from os_volume_ext.registry.attachments import Registry
from os_volume_ext.registry.database import Database

from .harness import SERVER, WSGIApp, environ, harness, send_request
from .measure import Finding, compare
from .parts import where_time_goes
from .rows import connect, fill, volume_ids

SELECT = """
SELECT volume_id, server_id, device, project_id FROM attachments
WHERE volume_id = ? AND server_id = ? AND state != 'attaching'
"""


def run() -> Iterator[Finding]:
    for dialect, server_id in SERVER.items():
        with harness(dialect) as (filtered, app, path):
            volume_id, *_ = volumes = volume_ids(dialect, 100)
            fill(path, ((each, server_id) for each in volumes))
            request = environ("GET", f"/servers/{server_id}/os-volume_attachments/{volume_id}")
            bare = floor(app, path, int if dialect == "cyclades" else str)
            if bare(request) != send_request(filtered, dict(request), "200 OK"):
                raise RuntimeError("the floor's response differs")
            finding = compare(
                f"show, {dialect}",
                bare,
                lambda request: send_request(filtered, dict(request), "200 OK"),
                8,
                20,
                150,
                (request,),
            )
            if dialect == "openstack":
                registry = Registry(Database({"url": f"sqlite:///{path}"}))
                finding = where_time_goes(finding, request, app, registry)
            yield finding


def floor(app: WSGIApp, path: Path, read_id: Callable[[str], Any]) -> Callable[[dict[str, Any]], bytes]:
    """Return a function that shows an attachment with the least possible work."""
    connection = connect(path)

    def see_server(environ: dict[str, Any], server_id: str) -> Any:
        sub_request = {
            **environ,
            "REQUEST_METHOD": "GET",
            "PATH_INFO": f"/servers/{server_id}",
            "QUERY_STRING": "",
            "CONTENT_LENGTH": "0",
            "HTTP_ACCEPT": "application/json",
            "wsgi.input": io.BytesIO(),
        }
        return json.loads(send_request(app, sub_request, "200 OK"))["server"]

    def show(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        _, _, server_id, _, volume_id = environ["PATH_INFO"].split("/")
        see_server(environ, server_id)
        volume, server, device, _ = connection.execute(SELECT, (volume_id, server_id)).fetchone()
        number = read_id(volume)
        shown = {
            "device": device if read_id is str else "",
            "serverId": read_id(server),
            "id": number,
            "volumeId": number,
        }
        body = json.dumps({"volumeAttachment": shown}).encode()
        headers = [
            ("Content-Length", str(len(body))),
            ("X-Openstack-Request-Id", environ["openstack.request_id"]),
            ("Vary", "Accept, X-Auth-Token"),
            ("Cache-Control", "no-cache, no-store, must-revalidate"),
            ("Content-Type", "application/json; charset=UTF-8"),
        ]
        start_response("200 OK", headers)
        return [body]

    return lambda request: send_request(show, dict(request), "200 OK")
