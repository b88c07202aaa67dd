"""The JSON documents of the demo compute API: servers, flavors and extensions, in Nova's format."""

from collections.abc import Callable
from typing import Any, Protocol

from .data import Server
from .microversions import Version

FLAVOR_ID = "1"
FLAVOR_NAME = "demo.tiny"

# The members of servers that Nova's microversions add, and that are constant in this API.
_ADDED: tuple[tuple[Version, dict[str, Any]], ...] = (
    (
        (2, 1),
        {
            "accessIPv4": "",
            "accessIPv6": "",
            "config_drive": "",
            "key_name": None,
            "os-extended-volumes:volumes_attached": [],
            "OS-DCF:diskConfig": "MANUAL",
            "OS-EXT-AZ:availability_zone": "nova",
            "OS-SRV-USG:terminated_at": None,
        },
    ),
    ((2, 9), {"locked": False}),
    ((2, 19), {"description": None}),
    ((2, 26), {"tags": []}),
    ((2, 63), {"trusted_image_certificates": None}),
    ((2, 73), {"locked_reason": None}),
    ((2, 96), {"pinned_availability_zone": None}),
    ((2, 100), {"scheduler_hints": {}}),
)
_EMBEDDED_FLAVOR = (2, 47)
_SERVER_GROUPS = (2, 71)
_HOSTNAME = (2, 90)
_FLAVOR_DESCRIPTION = (2, 55)
_FLAVOR_EXTRA_SPECS = (2, 61)
_FLAVOR_SWAP_AS_NUMBER = (2, 75)
_FLAVOR_WITHOUT_RXTX = (2, 102)


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
"""The extensions that the dialect openstack lists, as in Nova."""


class Query(Protocol):
    """What a view needs of a request."""

    @property
    def url(self) -> str:
        """The URL of the API."""

    @property
    def admin(self) -> bool:
        """Whether the caller is an administrator."""

    @property
    def version(self) -> Version | None:
        """The microversion; None for an API without microversions."""


class Views:
    """Makes the documents of one dialect."""

    def __init__(self, document_id: Callable[[str], int | str], *, hosts: bool) -> None:
        """Make the views.

        :param document_id: converts an id to its JSON value.
        :param hosts: whether administrators see the servers' hosts.
        """
        self._id = document_id
        self._hosts = hosts

    def reference(self, query: Query, collection: str, item_id: str, name: str) -> dict[str, Any]:
        """Return an item of a list without details."""
        return {"id": self._id(item_id), "name": name, "links": _links(query, collection, item_id)}

    def server(self, query: Query, server: Server, *, listed: bool = False) -> dict[str, Any]:
        """Return a server, or with ``listed`` an item of a list with details."""
        version = query.version or (0, 0)
        return {
            **self.reference(query, "servers", server.id, server.name),
            "status": server.status,
            "tenant_id": server.project_id,
            "user_id": server.user_id,
            "created": server.created,
            "updated": server.created,
            "addresses": {},
            "flavor": _EMBEDDED if version >= _EMBEDDED_FLAVOR else self._flavor_reference(query),
            "image": "",
            "metadata": {},
            "hostId": "",
            **{name: value for first, added in _ADDED if version >= first for name, value in added.items()},
            **({"SNF:task_state": server.task_state or ""} if query.version is None else _states(server)),
            **({"OS-EXT-SRV-ATTR:hostname": server.name} if version >= _HOSTNAME else {}),
            **({"server_groups": []} if version >= _SERVER_GROUPS and not listed else {}),
            **(_host(server) if self._hosts and query.admin else {}),
        }

    def listed_flavor(self, query: Query) -> dict[str, Any]:
        """Return the one flavor as an item of a list without details."""
        reference = self.reference(query, "flavors", FLAVOR_ID, FLAVOR_NAME)
        return reference | ({"description": None} if (query.version or (0, 0)) >= _FLAVOR_DESCRIPTION else {})

    def flavor(self, query: Query) -> dict[str, Any]:
        """Return the one flavor; memory in MiB, disks in GiB."""
        version = query.version or (0, 0)
        return {
            **self.listed_flavor(query),
            "ram": 512,
            "vcpus": 1,
            "disk": 1,
            "swap": 0 if version >= _FLAVOR_SWAP_AS_NUMBER else "",
            "OS-FLV-EXT-DATA:ephemeral": 0,
            "os-flavor-access:is_public": True,
            **({} if version >= _FLAVOR_WITHOUT_RXTX else {"rxtx_factor": 1.0, "OS-FLV-DISABLED:disabled": False}),
            **({"extra_specs": {}} if version >= _FLAVOR_EXTRA_SPECS else {}),
        }

    def _flavor_reference(self, query: Query) -> dict[str, Any]:
        return {"id": self._id(FLAVOR_ID), "links": _links(query, "flavors", FLAVOR_ID)}


_EMBEDDED = {
    "vcpus": 1,
    "ram": 512,
    "disk": 1,
    "ephemeral": 0,
    "swap": 0,
    "original_name": FLAVOR_NAME,
    "extra_specs": {},
}


def _links(query: Query, collection: str, item_id: str) -> list[dict[str, str]]:
    href = f"{query.url}/{collection}/{item_id}"
    return [{"rel": "self", "href": href}, {"rel": "bookmark", "href": href}]


def _states(server: Server) -> dict[str, Any]:
    """Return Nova's states of a server besides its status."""
    runs = server.status == "ACTIVE"
    return {
        "OS-EXT-STS:vm_state": "building" if server.status == "BUILD" else server.status.lower(),
        "OS-EXT-STS:task_state": server.task_state or ("spawning" if server.status == "BUILD" else None),
        "OS-EXT-STS:power_state": 1 if runs else 0,
        "OS-SRV-USG:launched_at": f"{server.created.removesuffix('Z')}.000000" if runs else None,
    }


def _host(server: Server) -> dict[str, str]:
    return {"OS-EXT-SRV-ATTR:host": "demo-host", "OS-EXT-SRV-ATTR:instance_name": f"instance-{server.id}"}
