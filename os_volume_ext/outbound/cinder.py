"""Cinder's API, called with the credentials of a service user, and for a caller with the caller's token too.

The service user's token goes along as ``X-Service-Token``: a caller's token that expires meanwhile remains valid, and
only a service may delete the attachment of a server.
"""

import json
import re
import time
from collections.abc import Mapping
from typing import Any

from ..errors import ConfigurationError, RequestFailed, RequestRefused
from .client import Client
from .documents import MALFORMED, read_fault
from .tokens import Access, TokenSource
from .urls import hide_password, is_http_url

MICROVERSION = "3.44"  # of the newest thing used here, the completion of an attachment
SERVICE_ROLE = "service"
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z")
"""What the id of each volume, server and attachment matches."""

_MAX_BODY = 4 * 1024 * 1024
_OWN = ("cafile", "endpoint", "insecure", "interface", "region_name")
_SERVICE_TYPE = "block-storage"
_BOOLEANS = {"true": True, "false": False}


class Deadline:
    """The time until which a call with several requests has to end."""

    def __init__(self, seconds: float) -> None:
        """Set it, from now on."""
        self._end = time.monotonic() + seconds

    def remaining(self) -> float:
        """Return the seconds that remain; 0 or less if it has passed."""
        return self._end - time.monotonic()


class Cinder:
    """Sends requests to Cinder. It has no state but the token, so threads can share it, and it survives a fork."""

    def __init__(self, prefix: str, options: Mapping[str, str]) -> None:
        """Read the options; nothing is requested.

        :param prefix: of the options, for messages, such as ``catalog.``.
        :param options: ``auth_type``, the options of that keystoneauth plugin, and those of ``_OWN``.
        :raises ConfigurationError: if one is missing, unknown or invalid.
        """
        own = {name: options[name] for name in _OWN if name in options}
        plugin = {name: value for name, value in options.items() if name not in own}
        auth_type = plugin.pop("auth_type", "")
        if not auth_type:
            raise ConfigurationError(
                f"{prefix}auth_type is missing: it must be the name of a keystoneauth plugin, such as v3password"
            )
        self._prefix = prefix
        self._endpoint = _endpoint(prefix, own.get("endpoint"))
        self._interface = own.get("interface", "internal")
        self._region = own.get("region_name")
        self._client = _client(prefix, own)
        self._tokens = TokenSource(prefix, "cinder", auth_type, plugin, self._client)

    def request(
        self,
        method: str,
        path: str,
        deadline: Deadline,
        *,
        caller: tuple[str, str | None] | None = None,
        document: Any = None,
    ) -> Mapping[str, Any]:
        """Send a request and return the document of its response, ``{}`` for a response without a body.

        :param method: such as ``POST``.
        :param path: below the project, such as ``/volumes``.
        :param caller: the caller's token, and the project of that token; None for the service user.
        :param document: the document to send; None for none.
        :raises RequestRefused: if the status is not a successful one.
        :raises RequestFailed: if there is no response in time, or it is not JSON.
        """
        access = self._tokens.access(_positive(deadline))
        token, project_id = caller or (access.token, access.project_id)
        url = f"{self._base(access)}{'/' + project_id if project_id else ''}{path}"
        headers = {
            "Accept": "application/json",
            "OpenStack-API-Version": f"volume {MICROVERSION}",
            "X-Auth-Token": token,
            "X-Service-Token": access.token,
        }
        response = self._client.request(method, url, headers, json=document, timeout=_positive(deadline))
        if response.status_code == 401:
            self._tokens.invalidate()  # it may have been revoked
        shown = f"{hide_password(url)} responded to {method} with"
        if not 200 <= response.status_code < 300:
            fault, reason = read_fault(response.content)
            advice = _ADVICE.get(response.status_code, "").format(prefix=self._prefix)
            message = f"{shown} {response.status_code}{reason and f' ({reason})'}{advice}"
            raise RequestRefused(message, response.status_code, fault, reason)
        return _document(response.content, shown)

    def check(self, deadline: Deadline) -> None:
        """Check that Cinder responds to the service user, who is an administrator with the role of a service.

        :raises RequestFailed: if not; the message has a remedy where it is known.
        """
        roles = self._tokens.access(_positive(deadline)).roles
        if roles is not None and SERVICE_ROLE not in roles:
            raise RequestFailed(
                f"the user of {self._prefix}* has the roles {', '.join(sorted(roles))}: "
                f"Cinder needs the role {SERVICE_ROLE} of a service"
            )
        services = self.request("GET", "/os-services?binary=cinder-volume", deadline)
        try:
            states = {each["state"] for each in services["services"]}
        except MALFORMED as error:
            raise RequestFailed(f"{self._prefix}endpoint: the response is not a list of Cinder's services") from error
        if "up" not in states:
            raise RequestFailed("no cinder-volume of Cinder is up")

    def _base(self, access: Access) -> str:
        """Return Cinder's URL, without a project."""
        if self._endpoint is not None:
            return self._endpoint
        if access.services is None:
            raise RequestFailed(f"{self._prefix}endpoint is missing: {self._prefix}auth_type has no service catalog")
        urls = access.services.get_urls(service_type=_SERVICE_TYPE, interface=self._interface, region_name=self._region)
        if not urls:
            raise RequestFailed(
                f"Keystone's catalog has no {_SERVICE_TYPE} service with the interface {self._interface}"
                f"{(self._region and f' in region {self._region}') or ''}: set {self._prefix}endpoint"
            )
        return str(urls[0]).rstrip("/").removesuffix(f"/{access.project_id}")


_ADVICE = {
    401: ": check that the user of {prefix}* has the role service",
    403: ": check that the user of {prefix}* has the role admin",
}


def is_missing(error: RequestRefused) -> bool:
    """Return whether Cinder itself responded that there is no such thing; a proxy's 404 has no fault of Cinder's."""
    return error.status == 404 and error.fault == "itemNotFound"


def _positive(deadline: Deadline) -> float:
    remaining = deadline.remaining()
    if remaining <= 0:
        raise RequestFailed("the time for requests to Cinder and Keystone has run out")
    return remaining


def _document(body: bytes, shown: str) -> Mapping[str, Any]:
    if not body.strip():
        return {}
    try:
        document = json.loads(body)
    except MALFORMED as error:
        raise RequestFailed(f"{shown} a body that is not JSON") from error
    if not isinstance(document, dict):
        raise RequestFailed(f"{shown} JSON that is not an object")
    return document


def _endpoint(prefix: str, url: str | None) -> str | None:
    if url is None:
        return None
    if not is_http_url(url):
        raise ConfigurationError(f"{prefix}endpoint: it must be a URL such as http://controller:8776/v3")
    return re.sub(r"/[%$]\((project|tenant)_id\)s\Z", "", url.rstrip("/"))


def _client(prefix: str, own: Mapping[str, str]) -> Client:
    insecure = own.get("insecure", "false").lower()
    if insecure not in _BOOLEANS:
        raise ConfigurationError(f"{prefix}insecure is {insecure!r}: it must be true or false")
    if _BOOLEANS[insecure] and "cafile" in own:
        raise ConfigurationError(f"{prefix}cafile is not an option beside {prefix}insecure: remove one of them")
    return Client(prefix=prefix, cafile=own.get("cafile"), insecure=_BOOLEANS[insecure], max_body=_MAX_BODY)
