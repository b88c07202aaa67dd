"""Tokens for calling the compute API outside of a request, from any keystoneauth plugin (extra ``[keystone]``)."""

from collections.abc import Callable, Mapping

from ..errors import ConfigurationError


def token_source(auth_type: str, options: Mapping[str, str]) -> Callable[[], str]:
    """Return a function that returns a valid token.

    :param auth_type: the name of a keystoneauth plugin, such as ``v3password``.
    :param options: of the plugin.
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
            raise ConfigurationError(f"compute.{min(unknown)} is not an option of {auth_type}")
        auth = loader.load_from_options(**given)
    except exceptions.ClientException as error:
        raise ConfigurationError(f"compute.auth_type: {auth_type}: {error}") from error
    keystone = session.Session(auth=auth)
    # keystoneauth replaces a token that is about to expire, and locks.
    return lambda: str(keystone.get_token())
