"""Tokens of a user for requests to other services, from any keystoneauth plugin."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import requests

from ..errors import ConfigurationError, RequestFailed
from ..perprocess import PerProcess
from .client import Client
from .urls import hide_password

T = TypeVar("T")


@dataclass(frozen=True)
class Access:
    """What Keystone said of a token."""

    token: str
    project_id: str | None
    """The project of the token; None if the plugin does not know it."""
    roles: frozenset[str] | None
    """The names of the user's roles; None if the plugin does not know them."""
    services: Any
    """keystoneauth's ``ServiceCatalog``; None if the plugin has none."""


class TokenSource:
    """The user that the options of a service describe; a plugin keeps its token and replaces one that is expiring."""

    def __init__(self, prefix: str, extra: str, auth_type: str, options: Mapping[str, str], client: Client) -> None:
        """Check the options; nothing is requested.

        :param prefix: of the options, for messages, such as ``compute.``.
        :param extra: of this distribution, which installs keystoneauth.
        :param auth_type: the name of a keystoneauth plugin, such as ``v3password``.
        :param options: of the plugin.
        :param client: sends the plugin's requests.
        :raises ConfigurationError: if keystoneauth is not installed, or rejects these options.
        """
        make, given = _plugin(prefix, extra, auth_type, options)
        self._make = make
        self._state: str | None = None  # the token, which a forked process can use too
        self._plugin = PerProcess(self._make_plugin)
        self._client = client
        self._urls = [value for value in given.values() if "://" in value]
        self._service = given.get("auth_url", auth_type)

    def token(self) -> str:
        """Return a valid token.

        :raises RequestFailed: if there is none.
        """
        return self._call(lambda session: str(session.get_token()))

    def access(self, timeout: float | None = None) -> Access:
        """Return a valid token with its project, roles and service catalog.

        :param timeout: seconds; None for the client's.
        :raises RequestFailed: if there is none.
        """
        return self._call(self._read, timeout)

    def invalidate(self) -> None:
        """Replace the token, which a service has rejected, by a new one in the next call."""
        self._plugin().invalidate()
        self._state = None

    def _make_plugin(self) -> Any:
        plugin = self._make()
        if self._state is not None:
            plugin.set_auth_state(self._state)
        return plugin

    def _read(self, session: Any) -> Access:
        plugin = self._plugin()
        if not hasattr(plugin, "get_access"):
            return Access(str(session.get_token()), None, None, None)
        found = plugin.get_access(session)
        self._state = plugin.get_auth_state()
        return Access(found.auth_token, found.project_id, frozenset(found.role_names), found.service_catalog)

    def _call(self, read: Callable[[Any], T], timeout: float | None = None) -> T:
        from keystoneauth1 import exceptions, session

        def get(http: requests.Session) -> T:
            try:
                return read(session.Session(auth=self._plugin(), session=http, redirect=False))
            except exceptions.HttpError as error:
                # Its message has a part of the response, which is not known to be harmless.
                raise RequestFailed(f"{hide_password(self._service)} responded with {error.http_status}") from None

        return self._client.call(self._service, self._urls, get, timeout)


def _plugin(
    prefix: str, extra: str, auth_type: str, options: Mapping[str, str]
) -> tuple[Callable[[], Any], Mapping[str, str]]:
    """Return what makes the plugin, and its options under keystoneauth's names."""
    try:
        # All that is needed later too.
        from keystoneauth1 import exceptions, loading, session  # noqa: F401
    except ImportError as error:
        raise ConfigurationError(f"{prefix}auth_type needs keystoneauth: install os-volume-ext[{extra}]") from error
    try:
        loader = loading.get_plugin_loader(auth_type)
        known = {option.dest for option in loader.get_options()}
        given = {name.replace("-", "_"): value for name, value in options.items()}
        unknown = given.keys() - known
        if unknown:
            raise ConfigurationError(
                f"{prefix}{min(unknown)} is not an option of {auth_type}: it has {', '.join(sorted(known))}"
            )
        loader.load_from_options(**given)
    except exceptions.ClientException as error:
        raise ConfigurationError(
            f"{prefix}auth_type: {auth_type}: {str(error).rstrip('.')}: correct it or its options"
        ) from error
    return lambda: loader.load_from_options(**given), given
