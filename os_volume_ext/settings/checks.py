"""The checks of options that depend on other options."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ..errors import ConfigurationError
from .options import missing
from .types import COMPUTE_URL, TRANSPORT_URL

if TYPE_CHECKING:
    from . import Settings


def check_no_options(name: str, options: Mapping[str, str]) -> None:
    """Check that there are no options for a ready object, which has been given its own.

    :param name: ``backend`` or ``catalog``.
    :raises ConfigurationError: if there are any.
    """
    if options:
        raise ConfigurationError(
            f"{name}.{min(options)} is not an option beside a {name} object: give it to the object itself"
        )


def check_combinations(settings: "Settings", given: Mapping[str, object]) -> None:
    """Check the options that must go together, and those that must not.

    :param given: the options of the section, by name.
    :raises ConfigurationError: if one is missing or invalid beside the others.
    """
    _check_max_microversion(settings)
    _check_stale_after(settings)
    _check_policy_dirs(settings)
    _check_notifications(given)
    _check_compute(settings, given)


def _check_max_microversion(settings: "Settings") -> None:
    if settings.max_microversion is None:
        return
    supported = settings.dialect.microversions
    if not supported:
        raise ConfigurationError(
            f"max_microversion is not an option of the dialect {settings.dialect.name}: it has one version"
        )
    if settings.max_microversion not in supported:
        raise ConfigurationError(
            f"max_microversion is {settings.max_microversion!r}: it may be {supported[0]} to {supported[-1]}"
        )


def _check_stale_after(settings: "Settings") -> None:
    if settings.stale_after <= 2 * settings.operation_timeout:
        # A call that starts at the end of its claim must have ended before another operation takes the row over.
        raise ConfigurationError(
            f"stale_after is {settings.stale_after}: it must be more than twice operation_timeout, "
            f"which is {settings.operation_timeout}"
        )


def _check_policy_dirs(settings: "Settings") -> None:
    if settings.policy_dirs and settings.policy_file is None:
        raise ConfigurationError("policy_file is missing: without it, policy_dirs are not read")


def _check_notifications(given: Mapping[str, object]) -> None:
    url = "notifications.transport_url"
    if any(name.startswith("notifications.") for name in given) and not given.get(url):
        raise missing(url, TRANSPORT_URL)


def _check_compute_url(url: str | None) -> None:
    if not url:
        raise missing("compute.url", COMPUTE_URL)
    try:
        COMPUTE_URL.convert(url)
    except ValueError:
        # Not shown, since it may have a password in it.
        raise ConfigurationError(f"compute.url is not a URL that can be requested: {COMPUTE_URL.expected}") from None


def _check_compute(settings: "Settings", given: Mapping[str, object]) -> None:
    if not any(name.startswith("compute.") for name in given):
        return
    options = settings.compute_options
    _check_compute_url(options.get("url"))
    if ("token" in options) == ("auth_type" in options):
        raise ConfigurationError("compute.url needs either compute.token or compute.auth_type, a keystoneauth plugin")
    others = options.keys() - {"url", "token"}
    if "token" in options and others:
        raise ConfigurationError(f"compute.{min(others)} is not an option beside compute.token")
    if settings.compute_insecure and settings.compute_cafile is not None:
        raise ConfigurationError("compute.cafile is not an option beside compute.insecure: remove one of them")
