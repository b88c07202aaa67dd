"""A tour of Nova's routes: requests in a fixed order, for a Nova without other clients."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

EVERY = ("", "2.26", "2.79", "latest")  # microversions; "" is none
KEY = "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAQQC1 somebody"


@dataclass(frozen=True)
class Step:
    """One request. ``{server}`` and such in its path are filled in."""

    method: str
    path: str
    who: str | None = "member"
    microversion: str = ""
    document: Any = None
    body: bytes | None = None
    headers: Mapping[str, str] | None = None


def steps() -> Iterator[Step]:
    """Yield what to ask."""
    yield from versions()
    for path in LOOKED_AT:
        for microversion in EVERY:
            yield Step("GET", f"/v2.1{path}", microversion=microversion)
    for path in LOOKED_AT_BY_ADMINS:
        for microversion in ("", "latest"):
            yield Step("GET", f"/v2.1{path}", "admin", microversion)
    for path in ("/servers/detail", "/flavors", "/limits", "/extensions", "/os-keypairs"):
        for base in ("/v2", "/v2/{project}", "/v2.1/{project}"):
            yield Step("GET", base + path)
    yield from changes()
    yield from what_is_nearly_ours()
    yield from mistakes()


def versions() -> Iterator[Step]:
    for path in ("/", "/v2", "/v2/", "/v2.1", "/v2.1/", "/v3", "/nothing"):
        yield Step("GET", path, who=None)
        yield Step("GET", path)


LOOKED_AT = (
    "/extensions",
    "/extensions/os-volumes",
    "/extensions/no-such-thing",
    "/flavors",
    "/flavors/detail",
    "/flavors/1",
    "/flavors/1/os-extra_specs",
    "/flavors/99",
    "/images",
    "/limits",
    "/os-availability-zone",
    "/os-cells",
    "/os-keypairs",
    "/os-networks",
    "/os-quota-class-sets/default",
    "/os-quota-sets/{project}",
    "/os-quota-sets/{project}/defaults",
    "/os-quota-sets/{project}/detail",
    "/os-security-groups",
    "/os-server-groups",
    "/os-simple-tenant-usage/{project}",
    "/os-tenant-networks",
    "/servers",
    "/servers?limit=1",
    "/servers/detail",
    "/servers/detail?status=PAUSED&sort_key=created_at",
    "/servers/{server}",
    "/servers/{server}/diagnostics",
    "/servers/{server}/ips",
    "/servers/{server}/metadata",
    "/servers/{server}/metadata/a",
    "/servers/{server}/migrations",
    "/servers/{server}/os-instance-actions",
    "/servers/{server}/os-interface",
    "/servers/{server}/os-security-groups",
    "/servers/{server}/os-server-password",
    "/servers/{server}/tags",
    "/servers/{server}/topology",
    "/servers/{other}",
    "/servers/no-such-server",
)
LOOKED_AT_BY_ADMINS = (
    "/flavors/1/os-flavor-access",
    "/os-aggregates",
    "/os-assisted-volume-snapshots",
    "/os-availability-zone/detail",
    "/os-hosts",
    "/os-hypervisors",
    "/os-hypervisors/detail",
    "/os-hypervisors/statistics",
    "/os-instance_usage_audit_log",
    "/os-migrations",
    "/os-services",
    "/os-simple-tenant-usage",
    "/servers/detail?all_tenants=1",
    "/servers/{other}",
)


def changes() -> Iterator[Step]:
    yield Step("PUT", "/v2.1/servers/{server}", document={"server": {"name": "renamed"}})
    yield Step("PUT", "/v2.1/servers/{server}/metadata", document={"metadata": {"b": "c"}})
    yield Step("POST", "/v2.1/servers/{server}/metadata", document={"metadata": {"d": "e"}})
    yield Step("PUT", "/v2.1/servers/{server}/metadata/d", document={"meta": {"d": "f"}})
    yield Step("DELETE", "/v2.1/servers/{server}/metadata/d")
    yield Step("PUT", "/v2.1/servers/{server}/tags", microversion="2.26", document={"tags": ["x", "y"]})
    yield Step("DELETE", "/v2.1/servers/{server}/tags/x", microversion="2.26")
    for action in ("lock", "unlock", "pause", "forceDelete"):
        yield Step("POST", "/v2.1/servers/{server}/action", document={action: None})
    yield Step("POST", "/v2.1/servers/{server}/action", "admin", document={"os-resetState": {"state": "error"}})
    yield Step("POST", "/v2.1/servers/{server}/action", "admin", document={"os-resetState": {"state": "active"}})
    for _ in range(2):
        yield Step("POST", "/v2.1/os-keypairs", document={"keypair": {"name": "key", "public_key": KEY}})
    yield Step("GET", "/v2.1/os-keypairs/key")
    yield Step("DELETE", "/v2.1/os-keypairs/key")
    flavor = {"name": "m1.other", "id": "2", "ram": 64, "vcpus": 1, "disk": 1}
    for who in ("member", "admin"):
        yield Step("POST", "/v2.1/flavors", who, document={"flavor": flavor})
    yield Step("POST", "/v2.1/flavors/2/os-extra_specs", "admin", document={"extra_specs": {"hw:cpu_policy": "shared"}})
    yield Step("DELETE", "/v2.1/flavors/2", "admin")
    yield Step("POST", "/v2.1/os-aggregates", "admin", document={"aggregate": {"name": "rack"}})
    yield Step("PUT", "/v2.1/os-quota-sets/{project}", "admin", document={"quota_set": {"instances": 5}})
    group = {"name": "group", "policies": ["affinity"]}
    yield Step("POST", "/v2.1/os-server-groups", document={"server_group": group})
    yield Step("DELETE", "/v2.1/servers/{doomed}")
    yield Step("GET", "/v2.1/servers/{doomed}")
    yield Step("GET", "/v2.1/servers/detail?deleted=1", "admin")


def what_is_nearly_ours() -> Iterator[Step]:
    for path in (
        "/servers/os-volume_attachments",
        "/servers/{server}/os-volume_attachment",
        "/servers/{server}/os-volume_attachments/a/b",
        "/servers/{server}/metadata/os-volume_attachments",
        "/os-volume_attachments",
        "/os-volumes_boot",
        "/extensionsx",
    ):
        yield Step("GET", f"/v2.1{path}")
        yield Step("POST", f"/v2.1{path}", document={})


def mistakes() -> Iterator[Step]:
    for method in ("HEAD", "OPTIONS", "PATCH", "DELETE"):
        for path in ("/v2.1/servers", "/v2.1/extensions", "/v2.1/flavors/1"):
            if (method, path) != ("HEAD", "/v2.1/extensions"):  # handled as GET, which Nova does not do
                yield Step(method, path)
    for body in (b"", b"{", b"[]", b'{"server": 1}', b"\xff", b"x" * 200_000):
        yield Step("POST", "/v2.1/servers", body=body)
    yield Step("POST", "/v2.1/servers", body=b"<server/>", headers={"Content-Type": "application/xml"})
    yield Step("POST", "/v2.1/servers/{server}/action", document={"nothing": None})
    yield Step("POST", "/v2.1/servers/{other}/action", document={"lock": None})
    for path in ("/v2.1/servers", "/v2.1/flavors", "/v2.1/extensions"):
        yield Step("GET", path, who=None)
        yield Step("GET", path, "unscoped")
        for microversion in ("2.999", "3.0", "nonsense"):
            yield Step("GET", path, microversion=microversion)
        yield Step("GET", path, headers={"Accept": "application/xml"})
        yield Step("GET", path, headers={"Origin": "http://elsewhere"})
    yield Step("GET", "/v2.1/{another_project}/servers")
