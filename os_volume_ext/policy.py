"""Policy: oslo.policy under Nova's rule names, so that an operator can use one policy.yaml for both."""

import inspect
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from copy import deepcopy
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from oslo_config import cfg
from oslo_policy import policy

from .context import ATTACHMENTS, UNKNOWN_USER, Enforce
from .errors import ConfigurationError
from .perprocess import PerProcess

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
_ADMIN = "context_is_admin"
_ASKED = (_ADMIN, *[ATTACHMENTS + action for action in RULES])

_REMEDY = "correct the option, or let the user of the compute API read it"
# How many decisions on a caller are kept: oslo.policy takes 60 microseconds for one.
_MAX_DECISIONS = 64
_annotations_lock = PerProcess(threading.Lock)  # a parent's may be held during the fork


class RuleSet:
    """The rules, as they were read at one time."""

    def __init__(self, enforcer: policy.Enforcer) -> None:
        """Take the rules in oslo.policy's form."""
        self._enforcer = enforcer
        checks = tuple(_used_checks(enforcer.rules))
        _complete_annotations(checks)
        self.is_self_contained = all(map(_is_self_contained, checks))
        """Whether decisions depend on caller and server only, so that what ``bind`` returns may be used again.

        It is false if one of the rules that are asked for calls another service, or a plugin of oslo.policy. Nova
        registers one, for rules of its own.
        """

    def bind(self, credentials: Mapping[str, Any]) -> tuple[Mapping[str, Any], Enforce]:
        """Return credentials with ``is_admin``, by the rule ``context_is_admin``, and what decides about their owner.

        A request calls it once, and each decision is made once.

        :param credentials: the caller's, under the names of oslo.context.
        """
        is_admin = bool(_enforce(self._enforcer, credentials, _ADMIN, None, UNKNOWN_USER))
        bound = {**credentials, "is_admin": is_admin}
        enforce = partial(_enforce, self._enforcer, deepcopy(bound))  # plugins get the other one
        return bound, lru_cache(maxsize=_MAX_DECISIONS)(enforce)


class Policy:
    """The rules, with the operator's changes."""

    def __init__(self, policy_file: str | None = None, policy_dirs: Sequence[str] | None = None) -> None:
        """Read the rules.

        :param policy_file: the absolute path of oslo.policy's YAML, which is read again when it changes; None: no file.
        :param policy_dirs: absolute paths of directories with more such files, which override it; None: ``policy.d``
            beside the file. Without a file they are not read.
        :raises ConfigurationError: if a file or a directory can't be read.
        """
        # Not the host's cfg.CONF; and never called, so it reads no files, no command line and no environment.
        self._conf = cfg.ConfigOpts()
        self._sources = rule_sources(policy_file, policy_dirs)
        # The state of the files, and the rules that were read last.
        self._loaded = self._state(), self._load(starts=True)

    def current(self) -> RuleSet:
        """Return the rules; if the files have changed, read them again. A request uses the same ones until its end.

        :raises ConfigurationError: if they can't be read, once for each change; the previous rules stay in effect.
        """
        known, rules = self._loaded
        if not self._sources[0]:
            return rules
        state = self._state()
        if state != known:
            try:
                rules = self._load()
            finally:
                self._loaded = state, rules
        return rules

    def _state(self) -> tuple[object, ...]:
        try:
            return tuple([_stamp(path) for _, path in rule_files(self._sources)])
        except ConfigurationError as error:  # a directory
            return (str(error),)

    def _load(self, *, starts: bool = False) -> RuleSet:
        # oslo.policy's own way to read files again would use the rules of some files while it reads the others.
        rules = policy.Rules.from_dict(BASE_RULES | {ATTACHMENTS + action: rule for action, rule in RULES.items()})
        for option, path in rule_files(self._sources):
            # The file has to exist at the start; without it, if it is removed later, the defaults hold.
            if starts or option == "policy_dirs" or path.exists():
                rules.update(read_rules(option, path))
        enforcer = policy.Enforcer(self._conf, rules=rules, use_conf=False)
        enforcer.check_rules()  # logs rules that refer to unknown ones
        return RuleSet(enforcer)


def _used_checks(rules: policy.Rules) -> Iterator[Any]:
    """Yield the checks of the rules that are asked for, with their parts and those of the rules that they refer to."""
    known: set[str] = set()
    pending: list[Any] = [policy.RuleCheck("rule", name) for name in _ASKED]
    while pending:
        check = pending.pop()
        yield check
        pending += [*getattr(check, "rules", ()), *([check.rule] if hasattr(check, "rule") else ())]
        if isinstance(check, policy.RuleCheck) and check.match not in known:
            known.add(check.match)
            with suppress(KeyError):  # an unknown rule, for which there is no default
                pending.append(rules[check.match])


def _complete_annotations(checks: Iterable[Any]) -> None:
    """Read the checks' annotations, as oslo.policy does in each decision, before several threads do so at once.

    The first to read a function's makes a dictionary of them and frees the tuple that they were. Python 3.11 may run
    another thread meanwhile, in a garbage collection; if that one reads them too, the first goes on with a freed tuple
    and the process crashes (``func_get_annotation_dict`` of CPython). Python 3.12 collects at other times.
    """
    with _annotations_lock():
        for check in checks:
            inspect.get_annotations(check.__call__)


def _is_self_contained(check: Any) -> bool:
    """Return whether a check is of oslo.policy's own kinds, other than ``http:``."""
    return bool(type(check).__module__ == policy.RuleCheck.__module__)


def _enforce(
    enforcer: policy.Enforcer, credentials: Mapping[str, Any], rule: str, project_id: str | None, user_id: str | None
) -> bool | None:
    """Return whether a rule is true, as ``context.Enforce`` does."""
    target = _Target()
    if project_id is not None:  # with None, a rule that compares projects would match tokens without a project
        target["project_id"] = project_id
    if user_id is not None:
        target["user_id"] = user_id
    allowed = bool(enforcer.enforce(rule, target, dict(credentials)))
    return None if target.lacks_user else allowed


class _Target(dict[str, str]):
    """What a rule compares the caller with; it notes whether the rule needs a user that it does not have."""

    lacks_user = False

    def __missing__(self, key: str) -> str:
        if key == "user_id":
            self.lacks_user = True
        raise KeyError(key)

    def __deepcopy__(self, memo: object) -> dict[str, str]:
        """Return the copy that an ``http:`` rule sends to another service, which may need all of it."""
        self.lacks_user |= "user_id" not in self
        return dict(self)


Sources = tuple[tuple[Path, ...], tuple[Path, ...]]
"""The policy file, if there is one, and the directories with more files."""


def rule_sources(policy_file: str | None, policy_dirs: Sequence[str] | None) -> Sources:
    """Return where to find rules.

    :param policy_file: the option's value.
    :param policy_dirs: the option's value.
    """
    if policy_file is None:
        return (), ()
    path = Path(policy_file)
    return (path,), (path.parent / "policy.d",) if policy_dirs is None else tuple(map(Path, policy_dirs))


def rule_files(sources: Sources) -> Iterator[tuple[str, Path]]:
    """Yield the option and the path of each file with rules; a later one overrides those before it.

    As in Nova, a directory that does not exist is ignored, and so are hidden files and subdirectories.

    :raises ConfigurationError: if a directory can't be read.
    """
    files, directories = sources
    for path in files:
        yield "policy_file", path
    for directory in directories:
        try:
            paths = sorted(directory.iterdir())
        except FileNotFoundError:
            continue
        except OSError as error:
            raise ConfigurationError(f"policy_dirs: {directory} can't be read: {error}: {_REMEDY}") from error
        for path in paths:
            if not (path.name.startswith(".") or path.is_dir()):
                yield "policy_dirs", path


def read_rules(option: str, path: Path) -> policy.Rules:
    """Read a file with rules.

    :param option: the option by which it is read, for messages.
    :param path: the absolute path.
    :raises ConfigurationError: if it can't be read, or is not oslo.policy's YAML.
    """
    try:
        return policy.Rules.load(path.read_text())
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{option}: {path} can't be read: {error}: {_REMEDY}") from error
    except Exception as error:  # oslo.policy and its YAML parser document none
        reason = " ".join(str(error).split())  # the YAML parser's has several lines
        raise ConfigurationError(f"{option}: {path} is not oslo.policy's YAML: {reason}: correct the file") from error


def _stamp(path: Path) -> object:
    """Return what differs when a file has changed."""
    try:
        status = path.stat()
    except OSError as error:
        return path, str(error)
    return path, status.st_mtime_ns, status.st_size, status.st_ino
