"""Compare Nova without and with the filter, and print the findings; runs in Nova's virtualenv and directory.

The arguments are a token, a server's id, and the id of a volume that both show as attached to that server.
"""

import dataclasses
import json
import os
import sys

token, server_id, volume_id = sys.argv[1:]
del sys.argv[1:]  # Nova parses them too

from nova.wsgi.osapi_compute import application  # noqa: E402
from paste.deploy import loadapp  # noqa: E402

from .harness import environ, send_request  # noqa: E402
from .measure import compare  # noqa: E402


def main():
    plain = loadapp(f"config:{os.environ['OS_NOVA_CONFIG_DIR']}/nova-api-paste.ini", name="osapi_compute")
    path = f"/v2.1/servers/{server_id}/os-volume_attachments"
    findings = [
        compare(what, asking(plain, path), asking(application, path), 1.0, rounds=400)
        for what, path in (("show, inside Nova", f"{path}/{volume_id}"), ("list of 10, inside Nova", path))
    ]
    print(json.dumps([dataclasses.asdict(finding) for finding in findings]))


def asking(app, path):
    return lambda: send_request(app, environ("GET", path, HTTP_X_AUTH_TOKEN=token), "200 OK")


main()
