"""The time of each step of showing one attachment, measured separately."""

from dataclasses import replace
from typing import Any

from os_volume_ext.api import negotiation
from os_volume_ext.api.dialects import OPENSTACK
from os_volume_ext.api.identity import Callers
from os_volume_ext.api.responses import make_response, query_of, request_id_of
from os_volume_ext.api.routing import Router
from os_volume_ext.api.serializers import JSON
from os_volume_ext.compute.wrapped import ComputeAPI
from os_volume_ext.context import ATTACHMENTS, RequestContext
from os_volume_ext.models import AttachmentSummary
from os_volume_ext.policy import Policy
from os_volume_ext.registry.attachments import Registry

from .harness import WSGIApp
from .measure import Finding, cost


def where_time_goes(finding: Finding, request: dict[str, Any], app: WSGIApp, registry: Registry) -> Finding:
    """Add the table of the steps to a finding."""
    router, callers, compute = Router(), Callers(Policy()), ComputeAPI(app=app, headers=OPENSTACK.lookup_headers)
    match = router.match(request["PATH_INFO"])
    if match is None:
        raise RuntimeError(f"{request['PATH_INFO']} is not a path of the extension")

    def identify() -> RequestContext:
        caller, enforce = callers.of(request)
        return RequestContext("req-1", caller, enforce, request)

    context = identify()
    row = AttachmentSummary(match.volume_id, match.server_id, "/dev/vdb", "demo")
    body = JSON.attachment(OPENSTACK.show(row))

    def respond() -> None:
        make_response(200, body, JSON, "req-1")(request, lambda status, headers, exc_info=None: None)

    parts = {
        "routing": lambda: router.match(request["PATH_INFO"]),
        "request id, query, negotiation": lambda: (
            request_id_of(request),
            negotiation.choose(query_of(request), None, request["HTTP_ACCEPT"]),
        ),
        "identity": identify,
        "policy": lambda: context.enforce(ATTACHMENTS + "show", "demo", None),
        "sub-request": lambda: compute.find(context, match.server_id),
        "registry": lambda: registry.get_visible(match.server_id, match.volume_id),
        "serialization": lambda: JSON.attachment(OPENSTACK.show(row)),
        "response": respond,
    }
    costs = {name: cost(part) for name, part in parts.items()}
    costs["everything else"] = finding.here - sum(costs.values())
    lines = [f"  {name:<32} {each * 1e6:6.1f} us {each / finding.here:5.0%}" for name, each in costs.items()]
    return replace(finding, notes=(f"Where the {finding.here * 1e6:.0f} us of {finding.what} go:", *lines))
