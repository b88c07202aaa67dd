"""Tokens for asking the compute API outside of a request, from any plugin of keystoneauth (extra ``[keystone]``)."""

from collections.abc import Callable, Mapping

from ..errors import ConfigurationError


def token_source(auth_type: str, options: Mapping[str, str]) -> Callable[[], str]:
    """Return what gives a valid token each time it is called.

    :param auth_type: the name of a keystoneauth plugin, such as ``v3password``.
    :param options: the plugin's.
    :raises ConfigurationError: if keystoneauth is not installed, or does not take these options.
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
    # A token near its end is replaced; keystoneauth locks.
    return lambda: str(keystone.get_token())
