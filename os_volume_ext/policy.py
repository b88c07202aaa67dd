"""Policy: oslo.policy under Nova's rule names, so that an operator can use one policy.yaml for both."""

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from oslo_config import cfg
from oslo_policy import policy

from .context import ATTACHMENTS
from .errors import ConfigurationError

# Nova's base rules (nova/policies/base.py): an operator's rules may refer to them; an unknown one is never true.
BASE_RULES = {
    "context_is_admin": "role:admin",
    "admin_or_owner": "is_admin:True or project_id:%(project_id)s",
    "admin_api": "is_admin:True",
    "project_manager_api": "role:manager and project_id:%(project_id)s",
    "project_member_api": "role:member and project_id:%(project_id)s",
    "project_reader_api": "role:reader and project_id:%(project_id)s",
    "service_api": "role:service",
    "project_manager_or_admin": "rule:project_manager_api or rule:context_is_admin",
    "project_member_or_admin": "rule:project_member_api or rule:context_is_admin",
    "project_reader_or_admin": "rule:project_reader_api or rule:context_is_admin",
    "service_or_admin": "rule:service_api or rule:context_is_admin",
}
RULES = {
    "index": "rule:project_reader_or_admin",
    "show": "rule:project_reader_or_admin",
    "create": "rule:project_member_or_admin",
    "update": "rule:project_member_or_admin",
    "swap": "rule:service_or_admin",
    "delete": "rule:project_member_or_admin",
}

# A hashable dictionary, for a cache: ``tuple(each.items())``, with tuples for lists.
_Frozen = tuple[tuple[str, Any], ...]


class Policy:
    """The rules, with the operator's changes."""

    def __init__(self, policy_file: str | None = None) -> None:
        """Register the rules and read the file.

        :param policy_file: the absolute path of oslo.policy's YAML, which is read again when it changes; None: no file.
        :raises ConfigurationError: if the file can't be read.
        """
        # Not the host's cfg.CONF: this one reads no files, no command line and no environment.
        conf = cfg.ConfigOpts()
        conf(args=[], default_config_files=[], default_config_dirs=[], use_env=False)
        self._enforcer = policy.Enforcer(conf, policy_file=policy_file)
        conf.set_override("policy_dirs", [], "oslo_policy")
        rules = BASE_RULES | {ATTACHMENTS + action: rule for action, rule in RULES.items()}
        if policy_file is None:
            # By default oslo.policy would read a file from the home directory or from /etc.
            self._enforcer.set_rules(policy.Rules.from_dict(rules), use_conf=False)
        else:
            self._enforcer.register_defaults([policy.RuleDefault(name, rule) for name, rule in rules.items()])
            _load(self._enforcer, policy_file)
        # Cached, since oslo.policy takes 60 microseconds; but not with a file, whose rules can change, and can call
        # other services.
        self._check = self._enforce if policy_file else lru_cache(maxsize=1024)(self._enforce)

    def with_is_admin(self, credentials: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return credentials with ``is_admin``, by the rule ``context_is_admin``.

        :param credentials: the caller's, as ``api.identity`` returns them.
        """
        return {**credentials, "is_admin": self._check("context_is_admin", (), _frozen(credentials))}

    def allows(self, credentials: Mapping[str, Any], action: str, project_id: str | None) -> bool:
        """Return whether the caller may perform an action in a project.

        :param credentials: the caller's, as ``with_is_admin`` returns them.
        :param action: such as ``index``.
        :param project_id: the project; None if it is unknown.
        """
        target: _Frozen = (("user_id", credentials.get("user_id")),)
        if project_id is not None:  # with None, a rule that compares projects would match tokens without a project
            target += (("project_id", project_id),)
        return self._check(ATTACHMENTS + action, target, _frozen(credentials))

    def _enforce(self, rule: str, target: _Frozen, credentials: _Frozen) -> bool:
        return bool(self._enforcer.enforce(rule, dict(target), _thawed(credentials)))


def _frozen(credentials: Mapping[str, Any]) -> _Frozen:
    return tuple([(name, tuple(value) if type(value) is list else value) for name, value in credentials.items()])


def _thawed(credentials: _Frozen) -> dict[str, Any]:
    return {name: list(value) if type(value) is tuple else value for name, value in credentials}


def _load(enforcer: policy.Enforcer, policy_file: str) -> None:
    try:
        # oslo.policy treats a missing file as an empty one.
        Path(policy_file).read_text()
        enforcer.load_rules()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"policy_file: {policy_file} can't be read: {error}") from error
    except Exception as error:  # oslo.policy and its YAML parser document none
        reason = " ".join(str(error).split())  # the YAML parser's has several lines
        raise ConfigurationError(f"policy_file: {policy_file} is not oslo.policy's YAML: {reason}") from error
