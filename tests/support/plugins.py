"""Plugins that are distributions of their own: how tests install them, and attach a volume with them."""

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

# What a host does, in a process of its own: a compute API with one server, the filter around it, one request.
ATTACH = """
import json
import sys

import webob
from paste.deploy import loadfilter

PASTE, SERVER, VOLUME = sys.argv[1:]


def compute(environ, start_response):
    server = {"id": SERVER, "tenant_id": "demo", "status": "ACTIVE", "locked": False}
    return webob.Response(json_body={"server": server})(environ, start_response)


application = loadfilter(f"config:{PASTE}", name="volumes")(compute)
request = webob.Request.blank(f"/servers/{SERVER}/os-volume_attachments", method="POST")
request.json_body = {"volumeAttachment": {"volumeId": VOLUME}}
request.content_type = "application/json"
request.headers.update({
    "X-Identity-Status": "Confirmed",
    "X-User-Id": "alice",
    "X-Project-Id": "demo",
    "X-Roles": "member,reader",
})
request.environ["keystone.token_info"] = {"token": {}}
response = request.get_response(application)
application.close()
print(json.dumps({"status": response.status_code, "body": response.json_body}))
"""


def install(run_command: Callable[..., str], distribution: Path, site: Path) -> None:
    """Install a distribution into a directory of its own; this environment stays as it is."""
    pip = (sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", site)
    run_command(*pip, distribution, cwd=distribution)


def attach(
    run_command: Callable[..., str], paste: Path, server_id: str, volume_id: str, **environment: str
) -> Mapping[str, Any]:
    """Attach a volume through the filter ``volumes`` of a paste file; return the response's status and body."""
    command = (sys.executable, "-c", ATTACH, paste, server_id, volume_id)
    response: Mapping[str, Any] = json.loads(run_command(*command, cwd=paste.parent, **environment))
    return response
