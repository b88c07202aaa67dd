"""The command that runs the benchmarks."""

import pytest

from benchmarks import __main__ as benchmarks
from benchmarks.measure import Finding


def test_notes_are_printed_also_when_a_later_benchmark_fails(monkeypatch, capsys):
    def fail():
        raise LookupError("no such service")

    first = Finding("the first", 1.0, 1.0, 1.0, notes=("a note of the first",))
    monkeypatch.setattr(benchmarks, "BENCHMARKS", {"first": lambda: [first], "second": fail})
    with pytest.raises(LookupError):
        benchmarks.main([])
    assert capsys.readouterr().out.splitlines()[-2:] == ["", "a note of the first"]
