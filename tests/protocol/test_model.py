"""The model of docs/protocol.rst: the rules keep every invariant, and none of them can be left out."""

import pytest

from tests.protocol.model import KNOWN, main
from tests.protocol.rules import CORRECTIONS, Backend
from tests.protocol.search import ALL, Quiet, Result, Scenario, explore, scenarios
from tests.protocol.states import INVARIANTS

# Of three operations, those that are about a rule each; all others: python tests/protocol/model.py --operations 3
LONG = (
    "attach s1 | attach s1 | detach s1",
    "attach s1 | attach s2 | delete volume",
    "attach s1 | attach s2 | switch",
    "attach s1 | delete volume | create elsewhere",
    "attach s2 | detach s1 | lose s1",
    "attach s2 | hide s1 | delete server s1",
    "attach s2 | reconcile | delete server s1",
    "detach s1 | reconcile | clock back",
    "detach s1 | reconcile | delete server s1",
    "update s1 | reconcile | delete server s1",
    "reconcile | create elsewhere | delete server s1",
)
# What breaks without a correction, and in which scenario.
BROKEN = (
    ("own-id", "I4", "attach s1 | attach s1"),
    ("deadline", "I4", "attach s1 | detach s1"),
    ("leave-valid", "I1", "attach s2 | reconcile"),
    ("claim-first", "I3", "detach s1 | reconcile"),
    ("no-undo", "I2", "attach s1 | reconcile"),
    ("pending-stays", "I4", "attach s1"),
    ("put-back", "P1", "detach s1 | delete server s1"),
    ("stale-only", "I1", "attach s2 | delete server s1"),
    ("gone", "I2", "detach s1 | hide s1"),
    ("put-back-stale", "P1", "reconcile | switch"),
    ("clear-flag", "D1", "detach s1"),
    ("backend-gone", "D1", "reconcile | delete server s1"),
    ("last-row", "D1", "attach s2 | delete server s1"),
    ("new-id", "D1", "update s1 | reconcile | delete server s1"),
    ("alone", "I1", "attach s2 | switch"),
    ("recheck", "D3", "attach s1 | delete volume"),
    ("recheck", "D2", "attach s1 | delete volume | create elsewhere"),
    ("recheck", "I1", "attach s2 | switch"),
    ("delete-lock", "D3", "attach s1 | delete volume"),
    ("create-check", "D1", "reconcile | create"),
    ("restamp", "P1", "reconcile | clock back"),
)


def parse(text: str) -> Scenario:
    """Return the scenario of a text such as "attach s1 | reconcile"."""
    return tuple(KNOWN[operation] for operation in text.split(" | "))


def search(scenario: Scenario, quiet: Quiet, until: str = "") -> list[Result]:
    """Search a scenario in both ways: with crashes, late calls and time, and without."""
    return [explore(scenario, quiet, prompt=prompt, until=until) for prompt in (False, True)]


def broken(results: list[Result]) -> set[str]:
    """Return the invariants that break in one of the results."""
    return {invariant for result in results for invariant in result.broken}


@pytest.fixture(scope="module")
def quiet() -> Quiet:
    """Return what the searches with all corrections share."""
    return Quiet()


@pytest.mark.parametrize("count", [1, 2])
def test_every_invariant_holds_in_every_scenario_of_so_many_operations(count: int, quiet: Quiet) -> None:
    found = {scenario: broken(search(scenario, quiet)) for scenario in scenarios(count)}
    assert {scenario: names for scenario, names in found.items() if names} == {}
    assert len(found) == {1: 7, 2: 98}[count]


@pytest.mark.parametrize("scenario", LONG)
def test_every_invariant_holds_in_the_chosen_scenarios_of_three(scenario: str, quiet: Quiet) -> None:
    assert broken(search(parse(scenario), quiet)) == set()


@pytest.mark.parametrize(("correction", "invariant", "scenario"), BROKEN)
def test_an_invariant_breaks_without_a_correction(correction: str, invariant: str, scenario: str) -> None:
    results = search(parse(scenario), Quiet(ALL - {correction}), until=invariant)
    assert invariant in broken(results)


def test_each_correction_and_each_invariant_but_i5_is_shown_to_be_necessary() -> None:
    assert {correction for correction, _, _ in BROKEN} == CORRECTIONS.keys()
    assert INVARIANTS.keys() - {invariant for _, invariant, _ in BROKEN} == {"I5"}


def test_two_reconciles_differ_from_one_if_volumes_are_deleted_beside_other_rows() -> None:
    assert "I5" in broken(search(parse("detach s2 | delete server s1"), Quiet(ALL - {"last-row"}), until="I5"))


def test_whether_a_multiattach_volume_is_deleted_depends_on_the_order_of_rows() -> None:
    """A known limit; docs/protocol.rst has it. If it no longer holds, I5 can always compare the volume."""
    assert broken(search(parse("attach s2 | delete server s1"), Quiet(strict=True))) == {"I5"}


# What breaks in scenarios of two operations if calls take effect after their time limit; docs/protocol.rst has it.
LATE: tuple[tuple[dict[str, bool], set[str]], ...] = (
    ({}, {"I1", "I2", "I3", "I4", "D3"}),
    ({"exclusive": True}, {"I2", "I3", "I4", "D3"}),
    # Two servers have the volume and multiattach is switched off: reconciles side by side refuse each other's calls.
    ({"ordered": True}, {"I5"}),
)


@pytest.mark.parametrize(("promises", "invariants"), LATE)
def test_what_late_calls_break_depends_on_what_the_backend_promises(
    promises: dict[str, bool], invariants: set[str]
) -> None:
    late = Quiet(backend=Backend(ends_in_time=False, **promises))
    assert {name for scenario in scenarios(2) for name in broken(search(scenario, late))} == invariants


def test_a_backend_that_promises_more_breaks_nothing() -> None:
    strict = Quiet(backend=Backend(exclusive=True))
    assert {name for scenario in scenarios(2) for name in broken(search(scenario, strict))} == set()


@pytest.mark.parametrize(
    ("scenario", "event"),
    [
        ("attach s1", "takes over the row of s1: attaching"),
        ("attach s1", "gets no slot: removes its row"),
        ("attach s1", "gets no slot: restores the row"),
        ("attach s1 | delete volume", "reads that the volume is gone: removes its row"),
        ("attach s1 | switch", "reads that the volume was modified: removes its row"),
        ("attach s2 | switch", "finds another row: removes its row"),
        ("attach s2", "claims the row of s1: detaching, was attached"),
        ("attach s2", "claims the row of s2: attaching"),
        ("detach s1 | delete server s1", "backend.detach s1: ServerNotFound"),
        ("detach s1 | delete server s1", "puts the row of s1 back to attached: certain failure"),
        ("delete volume | detach s1", "deletes the volume: success"),
        ("reconcile", "deletes the volume"),
        ("reconcile", "finds no volume to delete"),
        ("reconcile | lose s1", "claims the row of s1: reattaching, was attached"),
        ("reconcile | clock back", "restamps the row of s1"),
        ("reconcile | create elsewhere", "finds no volume to delete"),
    ],
)
def test_the_model_reaches_what_its_rules_are_about(scenario: str, event: str, quiet: Quiet) -> None:
    assert event in {what for result in search(parse(scenario), quiet) for what in result.events}


def test_the_command_prints_a_shortest_counterexample(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--without", "gone", "detach s1", "hide s1"]) == 1
    printed = capsys.readouterr().out
    assert "I2 breaks in 2: detach s1 | hide s1" in printed
    assert "detach s1: claims the row of s1: detaching, was attached" in printed


def test_the_command_takes_what_the_backend_promises(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--brief", "--late", "--backend", "exclusive", "detach s1"]) == 1
    assert main(["--brief", "--late", "--backend", "ordered", "detach s1"]) == 0
    assert "I3 breaks in 8: detach s1" in capsys.readouterr().out


def test_the_command_reports_that_all_invariants_hold(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--operations", "1"]) == 0
    assert f"0 of {len(INVARIANTS)} invariants break" in capsys.readouterr().out
