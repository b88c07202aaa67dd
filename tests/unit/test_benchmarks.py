"""The command that runs the benchmarks, and the measurement."""

import pytest

from benchmarks import __main__ as command
from benchmarks.measure import Finding, Skipped, measure

FIRST = Finding("the first", 1.0, 2.0, target=1.5, notes=("a note of the first",))


class Clock:
    """CPU time of functions that take a given time, and more in some rounds."""

    def __init__(self):
        self.now = 0.0
        self.calls = []
        self.factor = 1

    def __call__(self):
        return self.now

    def taking(self, seconds):
        def call():
            self.calls.append(seconds)
            self.now += seconds * self.factor

        return call


@pytest.fixture
def run(monkeypatch, capsys):
    """Run benchmarks, which are given as functions by name; return the exit status and the lines below the heading."""

    def run(*names, **benchmarks):
        monkeypatch.setattr(command, "DEFAULT", tuple(benchmarks))
        monkeypatch.setattr(command, "findings", lambda name: benchmarks[name]())
        status = command.main([*names])
        return status, capsys.readouterr().out.splitlines()[2:]

    return run


def fail():
    yield Finding("before the failure", 1.0, 1.0)
    raise LookupError("no such service\nits log")


def test_a_failed_benchmark_is_one_row_and_the_others_run(run):
    status, lines = run(broken=fail, works=lambda: [Finding("the last", 1.0, 1.0)])
    assert status == 1
    assert [line.split("  ")[0] for line in lines] == [
        "before the failure",
        "broken: FAILED: LookupError: no such service",
        "",
        "the last",
    ]
    assert lines[2] == "  its log"


def test_a_benchmark_that_cannot_be_imported_fails(monkeypatch, capsys):
    monkeypatch.setattr(command, "DEFAULT", ("missing",))
    assert command.main([]) == 1
    assert "missing: FAILED: ModuleNotFoundError: No module named 'benchmarks.missing'" in capsys.readouterr().out


def test_notes_are_printed_below_their_row(run):
    _, lines = run(first=lambda: [FIRST, Finding("the second", 1.0, 1.0)])
    assert [line.split("  ")[0] for line in lines] == ["the first", "", "the second"]
    assert lines[1] == "  a note of the first"


def test_a_missed_target_does_not_change_the_exit_status(run):
    status, lines = run(first=lambda: [FIRST])
    assert status == 0
    assert lines[0].split()[-3:] == ["2.00", "1.5", "MISSED"]


def test_a_skipped_benchmark_gives_its_reason_and_is_no_failure(run):
    def skip():
        raise Skipped("no server")
        yield

    assert run(service=skip) == (0, ["service: SKIPPED: no server"])


def test_only_the_named_benchmarks_run(run):
    status, lines = run("works", broken=fail, works=lambda: [FIRST])
    assert (status, len(lines)) == (0, 2)


def test_an_unknown_name_lists_the_known_ones(run):
    status, _ = run("nosuch", first=lambda: [FIRST])
    assert status == "unknown benchmark nosuch: choose from first, instructions"


@pytest.mark.parametrize(("here", "verdict"), [(5.9, "MISSED"), (6.0, "met")])
def test_a_target_can_be_a_minimum(here, verdict):
    assert Finding("a peer", 1.0, here, 6, is_minimum=True).verdict == verdict


@pytest.mark.parametrize(
    ("value", "unit", "shown"),
    [
        (2.0, "s", "2.0 s"),
        (0.0123, "s", "12.3 ms"),
        (1.5e-7, "s", "150.0 ns"),
        (73.04, "MB", "73.0 MB"),
        (5.0, "instructions", "0.0 k"),
    ],
)
def test_a_quantity_is_shown_in_its_greatest_unit(value, unit, shown):
    assert command.quantity(value, unit) == shown


def test_all_functions_run_for_the_same_time_per_round():
    clock = Clock()
    calls = clock.taking(0.001), clock.taking(0.004)
    assert measure(*calls, clock=clock, seconds=0.02, rounds=5) == pytest.approx([0.001, 0.004])
    assert clock.calls[-27:] == [0.001] * 21 + [0.004] * 6


def test_the_first_call_of_a_turn_is_not_measured():
    clock = Clock()
    usual = clock.taking(0.001)
    other = clock.taking(0.002)
    seen = []

    def slow_after_the_other():
        clock.factor = 1 if seen[-1:] == ["own"] else 10
        seen.append("own")
        usual()
        clock.factor = 1

    def emptying_the_caches():
        seen.append("other")
        other()

    assert measure(slow_after_the_other, emptying_the_caches, clock=clock) == pytest.approx([0.001, 0.002])


def test_disturbed_rounds_do_not_change_the_result():
    clock = Clock()
    call = clock.taking(0.001)

    def disturbed():
        clock.factor = 1 if len(clock.calls) % 50 < 20 else 10
        call()

    assert measure(disturbed, clock=clock, rounds=100) == pytest.approx([0.001], rel=0.05)
