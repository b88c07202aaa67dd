"""The fixed users, servers and volumes of the sample, as plain data."""

from collections.abc import Mapping
from dataclasses import dataclass

from ..api.dialects import LAST


@dataclass(frozen=True)
class Project:
    """A project; its id equals its name."""

    id: str
    name: str


@dataclass(frozen=True)
class User:
    """A user with one project, one password and one token."""

    id: str
    name: str
    password: str
    token: str
    project: Project
    roles: tuple[str, ...]


@dataclass(frozen=True)
class Server:
    """A server."""

    id: str
    name: str
    project_id: str
    user_id: str
    status: str = "ACTIVE"
    """Nova's, such as ``ACTIVE`` or ``BUILD``."""
    created: str = "2026-01-01T00:00:00Z"
    """An ISO 8601 time in UTC."""
    task_state: str | None = None
    """What is being done with it, such as ``rebuilding``; None for nothing, and for ``spawning`` of a new one."""


@dataclass(frozen=True)
class Volume:
    """A volume of the catalog."""

    id: str
    project_id: str


@dataclass(frozen=True)
class RootVolume:
    """The volume that a server boots from, which can't be detached."""

    server_id: str
    volume_id: str
    project_id: str
    device: str


@dataclass(frozen=True)
class ApiVersion:
    """The version document of an API."""

    id: str
    status: str
    updated: str
    media_type: str
    version: str = ""
    """The newest microversion; empty if there are none."""
    min_version: str = ""
    """The oldest microversion; empty if there are none."""


DOMAIN = {"id": "default", "name": "Default"}
"""The one domain of all users and projects."""

DEMO, OTHER, ADMIN = PROJECTS = tuple(Project(name, name) for name in ("demo", "other", "admin"))


def _user(name: str, project: Project, *roles: str) -> User:
    return User(f"user-{name}", name, name, f"{name}-token", project, roles)


USERS = (
    _user("demo", DEMO, "member", "reader"),
    _user("reader", DEMO, "reader"),
    _user("other", OTHER, "member", "reader"),
    _user("admin", ADMIN, "admin", "member", "reader"),
)

USERS_BY_TOKEN: Mapping[str, User] = {user.token: user for user in USERS}

SERVERS: Mapping[str, tuple[Server, ...]] = {
    "cyclades": (
        Server("1134", "web", "demo", "user-demo"),
        Server("1135", "mail", "demo", "user-demo"),
        Server("2001", "elsewhere", "other", "user-other"),
        Server("1140", "unfinished", "demo", "user-demo", status="BUILD"),
        Server("1141", "rooted", "demo", "user-demo"),
    ),
    "openstack": (
        Server("4335bab6-6086-4247-8274-8b8b048edaaa", "web", "demo", "user-demo"),
        Server("20f0cb44-7b00-4019-a612-364777cd2931", "mail", "demo", "user-demo"),
        Server("9a1f3c52-7d6e-4b0b-9f7a-0c2d5e8f1a34", "elsewhere", "other", "user-other"),
        Server("5d1f7c1a-0c5e-4c6f-9d5b-5a1d3f0c9b77", "unfinished", "demo", "user-demo", status="BUILD"),
        Server("7be0e5f4-8c1d-4a53-9a54-2f6d1c0e8b10", "rooted", "demo", "user-demo"),
    ),
}
"""The initial servers, by dialect."""

VOLUMES: Mapping[str, tuple[Volume, ...]] = {
    "cyclades": (
        Volume("9", "demo"),
        Volume("99", "demo"),
        Volume("100", "demo"),
        Volume("200", "other"),
    ),
    "openstack": (
        Volume("a26887c6-c47b-4654-abb5-dfadf7d3f803", "demo"),
        Volume("a26887c6-c47b-4654-abb5-dfadf7d3f804", "demo"),
        Volume("b7d0e9a4-54c1-4a3e-8a44-6f1f0b9a2c11", "other"),
    ),
}
"""The volumes of the catalog, by dialect."""

ROOT_VOLUMES: Mapping[str, tuple[RootVolume, ...]] = {
    "cyclades": (RootVolume("1141", "1000", "demo", "/dev/vda"),),
    "openstack": (
        RootVolume("7be0e5f4-8c1d-4a53-9a54-2f6d1c0e8b10", "c0ffee00-1111-4222-8333-444444444444", "demo", "/dev/vda"),
    ),
}
"""The initial attachments, by dialect."""

CYCLADES_API = ApiVersion(
    "v2.0", "SUPPORTED", "2011-01-21T11:33:21Z", "application/vnd.openstack.compute+json;version=2"
)
OPENSTACK_API = ApiVersion(
    "v2.1", "CURRENT", "2013-07-23T11:33:21Z", "application/vnd.openstack.compute+json;version=2.1", f"2.{LAST}", "2.1"
)
IDENTITY_API = ApiVersion("v3.14", "stable", "2020-04-07T00:00:00Z", "application/vnd.openstack.identity-v3+json")
VOLUME_API = ApiVersion(
    "v3.0", "CURRENT", "2018-07-17T00:00:00Z", "application/vnd.openstack.volume+json;version=3", "3.0", "3.0"
)
