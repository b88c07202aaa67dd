"""Endpoints: what handles each HTTP method of each resource, in each version of the API.

``ENDPOINTS`` is the one place to look up, for a resource and a method: the controller's method, the action that
policy must allow, the query parameters and the members of the body.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from . import members
from .controller import Call, Controller
from .dialects import CYCLADES, OPENSTACK
from .queries import COMMON_PARAMS, LIST_PARAMS

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """What handles one HTTP method of a resource, and what a request may send to it."""

    handler: Callable[[Controller, Call], tuple[int, bytes]]
    """The controller's method; it returns a status and a body."""
    action: str
    """The policy action that the caller must be allowed, such as ``index``."""
    params: frozenset[str] | None = None
    """The query parameters that a request may have; None: any, and unknown ones are ignored."""
    members: Mapping[str, Callable[[Any], Any]] | None = None
    """The members that ``volumeAttachment`` may have besides ``volumeId``, each with the function that reads its value
    or raises BadRequest; None: the body is not read."""
    other_volume: "Endpoint | None" = None
    """The endpoint for a body whose ``volumeId`` is not the path's volume; None: the same one."""


Endpoints = Mapping[str, Mapping[str, Endpoint]]
"""An endpoint by resource (``collection`` or ``member``) and HTTP method. HEAD is handled as GET."""

_CREATE_2_49 = {"device": members.device, "tag": members.tag}
_CREATE_2_79 = {**_CREATE_2_49, "delete_on_termination": members.boolean}
_UPDATE_2_85 = {**_CREATE_2_79, "id": members.uuid, "serverId": members.uuid}

# By dialect, resource, HTTP method and the minor version from which on the endpoint is the one in use.
ENDPOINTS: Mapping[str, Mapping[str, Mapping[str, Mapping[int, Endpoint]]]] = {
    CYCLADES.name: {
        "collection": {
            "GET": {1: Endpoint(Controller.index, "index")},
            "POST": {1: Endpoint(Controller.create, "create", members={})},
        },
        "member": {
            "GET": {1: Endpoint(Controller.show, "show")},
            "DELETE": {1: Endpoint(Controller.delete, "delete")},
        },
    },
    OPENSTACK.name: {
        "collection": {
            "GET": {
                1: Endpoint(Controller.index, "index"),
                75: Endpoint(Controller.index, "index", params=LIST_PARAMS),
            },
            "POST": {
                1: Endpoint(Controller.create, "create", members={"device": members.device}),
                49: Endpoint(Controller.create, "create", members=_CREATE_2_49),
                79: Endpoint(Controller.create, "create", members=_CREATE_2_79),
            },
        },
        "member": {
            "GET": {
                1: Endpoint(Controller.show, "show"),
                102: Endpoint(Controller.show, "show", params=COMMON_PARAMS),
            },
            "DELETE": {1: Endpoint(Controller.delete, "delete")},
            "PUT": {
                1: Endpoint(Controller.swap, "swap", members={}),
                85: Endpoint(
                    Controller.update,
                    "update",
                    members=_UPDATE_2_85,
                    other_volume=Endpoint(Controller.swap, "swap", members=_UPDATE_2_85),
                ),
            },
        },
    },
}


def endpoints_of(dialect: str, minor: int) -> Endpoints:
    """Return the endpoints of a version.

    :param dialect: the name of the dialect.
    :param minor: the microversion's second number; 1 where the dialect has no microversions.
    """
    return {
        resource: {method: effective(by_minor, minor) for method, by_minor in methods.items()}
        for resource, methods in ENDPOINTS[dialect].items()
    }


def effective(by_minor: Mapping[int, Value], minor: int) -> Value:
    """Return what a minor version has: its own value, or that of the last version before it.

    :param by_minor: values by the minor version that introduced them.
    :param minor: the version.
    """
    return by_minor[max(each for each in by_minor if each <= minor)]
