"""The Django project, with its compute API wrapped by os-volume-ext, behind auth_token."""

import logging

from compute_api import application as django
from keystonemiddleware.auth_token import AuthProtocol
from paste.deploy import loadfilter

API = "/compute/v2.0"

FORMAT = "%(asctime)s %(levelname)s %(name)s %(message)s"
logging.basicConfig(level=logging.INFO, format=FORMAT)


def full_path(environ, start_response):
    """Call Django, whose URL patterns are full paths."""
    full = {"SCRIPT_NAME": "", "PATH_INFO": API + environ["PATH_INFO"]}
    return django({**environ, **full}, start_response)


volumes = loadfilter("config:/etc/compute/volumes.ini", name="volumes")(full_path)


def site(environ, start_response):
    """Call os-volume-ext for paths below the compute API's root, otherwise Django."""
    path = environ["PATH_INFO"]
    if not path.startswith(f"{API}/"):
        return django(environ, start_response)
    below = {"SCRIPT_NAME": API, "PATH_INFO": path.removeprefix(API)}
    return volumes({**environ, **below}, start_response)


application = AuthProtocol(
    site,
    {
        "www_authenticate_uri": "http://controller:5000",
        "auth_url": "http://controller:5000",
        "auth_type": "password",
        "username": "volumes",
        "password": "secret",
        "project_name": "service",
        "user_domain_id": "default",
        "project_domain_id": "default",
        "service_token_roles_required": True,
        "delay_auth_decision": True,
    },
)
