"""Tokens for calling the compute API outside of a request, from any keystoneauth plugin (extra ``[keystone]``)."""

from collections.abc import Callable, Mapping

import requests

from ..errors import ConfigurationError, RequestFailed
from ..outbound.client import Client
from ..outbound.urls import hide_password
from ..perprocess import PerProcess


def token_source(auth_type: str, options: Mapping[str, str], client: Client) -> Callable[[], str]:
    """Return a function that returns a valid token, or raises ``RequestFailed``.

    :param auth_type: the name of a keystoneauth plugin, such as ``v3password``.
    :param options: of the plugin.
    :param client: sends the plugin's requests.
    :raises ConfigurationError: if keystoneauth is not installed, or rejects these options.
    """
    try:
        from keystoneauth1 import exceptions, loading, session
    except ImportError as error:
        raise ConfigurationError("compute.auth_type needs keystoneauth: install os-volume-ext[keystone]") from error
    try:
        loader = loading.get_plugin_loader(auth_type)
        known = {option.dest for option in loader.get_options()}
        given = {name.replace("-", "_"): value for name, value in options.items()}
        unknown = given.keys() - known
        if unknown:
            raise ConfigurationError(
                f"compute.{min(unknown)} is not an option of {auth_type}: it has {', '.join(sorted(known))}"
            )
        loader.load_from_options(**given)
    except exceptions.ClientException as error:
        raise ConfigurationError(
            f"compute.auth_type: {auth_type}: {str(error).rstrip('.')}: correct it or its options"
        ) from error
    # A plugin keeps its token, replaces one that is about to expire, and locks.
    plugin = PerProcess(lambda: loader.load_from_options(**given))
    urls = [value for value in given.values() if "://" in value]
    service = given.get("auth_url", auth_type)

    def get(http: requests.Session) -> str:
        try:
            return str(session.Session(auth=plugin(), session=http, redirect=False).get_token())
        except exceptions.HttpError as error:
            # Its message has a part of the response, which is not known to be harmless.
            raise RequestFailed(f"{hide_password(service)} responded with {error.http_status}") from None

    return lambda: client.call(service, urls, get)
