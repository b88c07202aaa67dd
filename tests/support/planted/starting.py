"""Faults of options, ``__init__``, ``prepare`` and ``check``."""

import os
import shutil
import threading
import time
from pathlib import Path

from os_volume_ext.backends.base import BackendUnavailable, ConfigurationError

from .reference import Reference, caught_by


@caught_by("test_it_is_a_backend")
class NeedsHostIsAWord(Reference):
    needs_host = "no"


@caught_by("test_it_is_a_backend")
class RefusesSecondServerIsAWord(Reference):
    refuses_second_server = "yes"


@caught_by("test_the_declarations_are_complete", limit=1)
class DeclaresALimitOfOne(Reference):
    pass


@caught_by("test_an_unknown_option_is_refused_by_its_name")
class AcceptsAnyOption(Reference):
    def read_options(self, options):
        super().read_options({name: options[name] for name in ("root", "operation_timeout")})


@caught_by("test_a_missing_or_wrong_option_is_refused_by_its_name")
class FindsAMissingOptionAtTheFirstAttach(Reference):
    def read_options(self, options):
        super().read_options({"root": "/nowhere", **options})


@caught_by("test_a_missing_or_wrong_option_is_refused_by_its_name")
class RaisesKeyErrorForAMissingOption(Reference):
    def read_options(self, options):
        options["root"]
        super().read_options(options)


@caught_by("test_a_missing_or_wrong_option_is_refused_by_its_name")
class DoesNotNameTheWrongOption(Reference):
    def read_options(self, options):
        try:
            super().read_options(options)
        except ConfigurationError as error:
            raise ConfigurationError("an option is wrong") from error


@caught_by("test_the_shortest_time_limit_is_an_option_like_any_other")
class RefusesAShortTimeLimit(Reference):
    def read_options(self, options):
        super().read_options(options)
        if self.timeout < 5:
            raise ConfigurationError("operation_timeout must be 5 or more")


@caught_by("test_a_healthy_backend_passes_its_check")
class ChangesTheOptions(Reference):
    def read_options(self, options):
        timeout = options.pop("operation_timeout", "60")
        super().read_options({**options, "operation_timeout": timeout})


@caught_by("test_making_a_backend_starts_no_thread")
class StartsAThreadInInit(Reference):
    def __init__(self, options):
        super().__init__(options)
        threading.Thread(target=time.sleep, args=(5,), daemon=True).start()


@caught_by("test_making_a_backend_opens_no_descriptor")
class OpensADescriptorInInit(Reference):
    def __init__(self, options):
        super().__init__(options)
        self.descriptor = os.open("/", os.O_RDONLY)


@caught_by("test_making_and_checking_a_backend_creates_no_file")
class CreatesItsDirectoryInInit(Reference):
    def __init__(self, options):
        super().__init__(options)
        (self.root / "cache").mkdir()


@caught_by("test_preparing_again_changes_nothing")
class StartsFromScratchInPrepare(Reference):
    def prepare(self):
        for server in (self.root / "servers").glob("*"):
            shutil.rmtree(server)
            server.mkdir()
        super().prepare()


@caught_by("test_preparing_again_changes_nothing", "test_processes_can_prepare_at_once")
class PreparesOnce(Reference):
    def prepare(self):
        (self.root / "servers").mkdir()


@caught_by("test_processes_can_prepare_at_once")
class PreparesInOneProcessAtATime(Reference):
    def prepare(self):
        if not (self.root / "servers").exists():
            time.sleep(0.3)  # until the others have looked too
            (self.root / "servers").mkdir()


@caught_by("test_an_object_that_is_not_prepared_works_where_another_was")
class NeedsPrepareInEachObject(Reference):
    servers: Path | None = None

    def prepare(self):
        super().prepare()
        self.servers = self.root / "servers"

    def find(self, server):
        return super().find(server) if self.servers.is_dir() else None


@caught_by("test_a_healthy_backend_passes_its_check")
class NeverPassesItsCheck(Reference):
    def check(self):
        raise BackendUnavailable("it does not work")


@caught_by("test_a_check_changes_nothing")
class TidiesUpInCheck(Reference):
    def check(self):
        super().check()
        for disk in self.root.glob("servers/*/vd?"):
            disk.unlink()


@caught_by("test_making_and_checking_a_backend_creates_no_file", "test_an_unreachable_backend_does_not_pass_its_check")
class CreatesItsDirectoryInCheck(Reference):
    def check(self):
        (self.root / "cache").mkdir(parents=True, exist_ok=True)
