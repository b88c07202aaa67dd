"""Options, and what happens at the start: ``__init__``, ``prepare`` and ``check``."""

import threading
from pathlib import Path

import pytest

from ...backends.base import Backend, ConfigurationError
from ..expectations import must_succeed
from ..leftovers import open_descriptors, opened_since
from ..running import run_at_once, run_in_children
from .checks import assert_has, must_attach, must_detach
from .declarations import Declarations


class StartUp(Declarations):
    """Making a backend, preparing and checking it."""

    def test_it_is_a_backend(self, backend):
        assert isinstance(backend, Backend)
        assert isinstance(backend.needs_host, bool), "needs_host must be True or False"
        assert isinstance(backend.refuses_second_server, bool), "refuses_second_server must be True or False"

    def test_an_unknown_option_is_refused_by_its_name(self, options):
        with pytest.raises(ConfigurationError, match="no_such_option"):
            self.make_backend({**options, "no_such_option": "1"})

    def test_a_missing_or_wrong_option_is_refused_by_its_name(self, options, wrong_options):
        for name, value in wrong_options:
            others = {each: options[each] for each in options if each != name}
            what = f"a backend without the option {name}" if value is None else f"a backend with {name} = {value!r}"
            try:
                self.make_backend(others if value is None else {**others, name: value})
            except ConfigurationError as error:
                message = str(error)
            except Exception as error:
                raise AssertionError(f"{what} must raise ConfigurationError, and raised {error!r}") from error
            else:
                pytest.fail(f"{what} must raise ConfigurationError when it is made, and raised nothing")
            assert name in message, f"{what} raised an exception whose message does not name the option: {message}"

    def test_the_shortest_time_limit_is_an_option_like_any_other(self, options):
        with must_succeed("making a backend with the operation_timeout 1"):
            self.make_backend(options, timeout=1)

    def test_making_a_backend_starts_no_thread(self, options):
        before = set(threading.enumerate())
        self.make_backend(options)
        started = set(threading.enumerate()) - before
        assert not started, f"__init__ started {started}: threads do not survive a fork, start them on first use"

    def test_making_a_backend_opens_no_descriptor(self, options):
        before = open_descriptors()
        backend = self.make_backend(options)
        opened = opened_since(before)
        assert not opened, f"__init__ of {backend} opened {opened}: connections do not survive a fork"

    def test_making_and_checking_a_backend_creates_no_file(self, options, tmp_path):
        before = _files(tmp_path)
        with must_succeed("check of a backend that is not prepared"):
            self.make_backend(options).check()
        created = _files(tmp_path) ^ before
        assert not created, f"__init__ or check created or removed {created}: only prepare may"

    def test_preparing_again_changes_nothing(self, backend, new_backend, server, volume):
        device = must_attach(backend, server, volume)
        with must_succeed("another prepare"):
            backend.prepare()
            new_backend()
        assert_has(backend, server, {volume.id: device}, "after another prepare")

    def test_processes_can_prepare_at_once(self, options):
        def prepare():
            with must_succeed("prepare, in several processes or threads at once,"):
                self.make_backend(options).prepare()

        run_in_children([prepare] * 4)
        run_at_once([prepare] * 4)

    def test_an_object_that_is_not_prepared_works_where_another_was(self, backend, options, server, volume):
        device = must_attach(backend, server, volume)
        unprepared = self.make_backend(options)
        assert_has(unprepared, server, {volume.id: device}, "as an object sees it on which prepare was not called")
        must_detach(unprepared, server, volume, device)
        must_attach(unprepared, server, volume)
        with must_succeed("check of an object on which prepare was not called"):
            unprepared.check()

    def test_a_healthy_backend_passes_its_check(self, backend):
        with must_succeed("check of a backend that works"):
            backend.check()

    def test_a_check_changes_nothing(self, backend, server, volume):
        device = must_attach(backend, server, volume)
        with must_succeed("check of a backend that works"):
            backend.check()
        assert_has(backend, server, {volume.id: device}, "after a check")


def _files(directory: Path) -> set[Path]:
    return set(directory.rglob("*"))
