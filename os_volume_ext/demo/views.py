"""The documents of the demo compute API: servers, flavors and extensions, in Nova's form."""

from collections.abc import Callable
from typing import Any, Protocol

from .data import Server
from .microversions import Version

FLAVOR_ID = "1"
FLAVOR_NAME = "demo.tiny"

_FIRST_WITH_LOCKED = (2, 9)


def _extension(alias: str, name: str, description: str) -> dict[str, Any]:
    return {
        "alias": alias,
        "name": name,
        "description": description,
        "namespace": "http://docs.openstack.org/compute/ext/fake_xml",
        "updated": "2014-12-03T00:00:00Z",
        "links": [],
    }


EXTENSIONS = (
    _extension("flavors", "Flavors", "Flavors Extension."),
    _extension("os-extended-server-attributes", "ExtendedServerAttributes", "Extended Server Attributes support."),
)
"""The extensions that the openstack dialect lists, in Nova's words."""


class Query(Protocol):
    """What a view needs to know of a request.

    ``url`` is where the API is; ``admin`` tells whether an administrator asks; ``version`` is the microversion.
    """

    @property
    def url(self) -> str: ...

    @property
    def admin(self) -> bool: ...

    @property
    def version(self) -> Version | None: ...


class Views:
    """Makes the documents of one dialect."""

    def __init__(self, document_id: Callable[[str], int | str], *, hosts: bool) -> None:
        """:param document_id: what an id looks like in JSON. :param hosts: whether administrators see hosts."""
        self._id = document_id
        self._hosts = hosts

    def reference(self, query: Query, collection: str, item_id: str, name: str) -> dict[str, Any]:
        """Return what a list without details says of an item."""
        return {"id": self._id(item_id), "name": name, "links": _links(query, collection, item_id)}

    def server(self, query: Query, server: Server) -> dict[str, Any]:
        """Return all there is to say of a server."""
        return {
            **self.reference(query, "servers", server.id, server.name),
            "status": server.status,
            "tenant_id": server.project_id,
            "user_id": server.user_id,
            "created": server.created,
            "updated": server.created,
            "addresses": {},
            "flavor": {"id": self._id(FLAVOR_ID), "links": _links(query, "flavors", FLAVOR_ID)},
            "image": "",
            "metadata": {},
            "hostId": "",
            **({"locked": False} if (query.version or (0, 0)) >= _FIRST_WITH_LOCKED else {}),
            **(_host(server) if self._hosts and query.admin else {}),
        }

    def flavor(self, query: Query) -> dict[str, Any]:
        """Return all there is to say of the one flavor; memory in MiB, disks in GiB."""
        return {
            **self.reference(query, "flavors", FLAVOR_ID, FLAVOR_NAME),
            "ram": 512,
            "vcpus": 1,
            "disk": 1,
            "swap": "",
            "rxtx_factor": 1.0,
            "OS-FLV-EXT-DATA:ephemeral": 0,
            "OS-FLV-DISABLED:disabled": False,
            "os-flavor-access:is_public": True,
        }


def _links(query: Query, collection: str, item_id: str) -> list[dict[str, str]]:
    href = f"{query.url}/{collection}/{item_id}"
    return [{"rel": "self", "href": href}, {"rel": "bookmark", "href": href}]


def _host(server: Server) -> dict[str, str]:
    return {"OS-EXT-SRV-ATTR:host": "demo-host", "OS-EXT-SRV-ATTR:instance_name": f"instance-{server.id}"}
