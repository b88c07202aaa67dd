"""A compute API as a Django project in one file. It keeps its servers in memory."""

import functools
import itertools
import json
from pathlib import Path

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse, JsonResponse
from django.urls import path
from django.views.decorators.http import require_GET, require_POST

settings.configure(ROOT_URLCONF=__name__)

SERVERS = {}
IDS = itertools.count(1134)
# The directory backend needs a directory for each server.
DIRECTORIES = Path("/var/lib/compute/volumes/servers")


def fault(name, code, message):
    """Return a fault in the format of Cyclades."""
    document = {"code": code, "message": message, "details": ""}
    return JsonResponse({name: document}, status=code)


def authenticated(view):
    """Respond with 401 unless auth_token has confirmed the caller; no client can set this header."""

    @functools.wraps(view)
    def checked(request, **arguments):
        if request.headers.get("X-Identity-Status") != "Confirmed":
            return fault("unauthorized", 401, "This API needs a valid token.")
        return view(request, **arguments)

    return checked


def may_see(request, server):
    """Return whether the caller is in the server's project, or an administrator."""
    is_admin = "admin" in request.headers["X-Roles"].split(",")
    return is_admin or server["tenant_id"] == request.headers.get("X-Project-Id")


@require_GET
def front(request):
    """Show a public page."""
    return HttpResponse("This is the front page of the Django project.")


@require_POST
@authenticated
def create(request):
    """Create a server in the caller's project."""
    server_id = next(IDS)
    SERVERS[server_id] = {
        "id": server_id,
        "name": json.loads(request.body)["server"]["name"],
        "tenant_id": request.headers["X-Project-Id"],
        "status": "ACTIVE",
    }
    (DIRECTORIES / str(server_id)).mkdir(parents=True)
    return JsonResponse({"server": SERVERS[server_id]}, status=202)


@require_GET
@authenticated
def detail(request):
    """Show all servers that the caller may see."""
    visible = [server for server in SERVERS.values() if may_see(request, server)]
    return JsonResponse({"servers": visible})


@require_GET
@authenticated
def show(request, server_id):
    """Show a server that the caller may see."""
    server = SERVERS.get(server_id)
    if server is None or not may_see(request, server):
        return fault("itemNotFound", 404, f"There is no server {server_id}.")
    return JsonResponse({"server": server})


urlpatterns = [
    path("", front),
    path("compute/v2.0/servers", create),
    path("compute/v2.0/servers/detail", detail),
    path("compute/v2.0/servers/<int:server_id>", show),
]
application = get_wsgi_application()
