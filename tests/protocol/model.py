"""An executable model of docs/protocol.rst: one volume, two servers, and every order of events.

Operations run at once, workers crash or wake up late, backend calls fail or have an unknown outcome, servers are
deleted, hidden or lose their disk, the volume is deleted, created again or changes, and the clock is set back. With
all corrections, each invariant holds. Without one of them, or with ``--late``, a shortest counterexample is printed.
"""

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.protocol.rules import CORRECTIONS, Backend, name
from tests.protocol.search import ALL, EVENTS, OPERATIONS, Quiet, Scenario, Trace, explore, scenarios
from tests.protocol.states import ATTACHED, INVARIANTS, Row, State

KNOWN = {str(operation): operation for operation in (*OPERATIONS, *EVENTS)}


def main(arguments: list[str] | None = None) -> int:
    """Run the searches that the command line asks for.

    :returns: the exit status: 1 if an invariant breaks.
    """
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.list:
        for title, texts in (("Corrections", CORRECTIONS), ("Invariants", INVARIANTS)):
            print(f"{title}:", *(f"  {key:13} {text}" for key, text in texts.items()), sep="\n")
        print("Operations and events:", *(f"  {known}" for known in KNOWN), sep="\n")
        return 0
    chosen: Iterable[Scenario]
    if options.operation:
        unknown = set(options.operation) - KNOWN.keys()
        if unknown:
            parser.error(f"unknown operation {min(unknown)!r}: --list lists them")
        chosen = [tuple(KNOWN[operation] for operation in options.operation)]
    else:
        chosen = (scenario for count in range(1, options.operations + 1) for scenario in scenarios(count))
    backend = Backend(not options.late, "exclusive" in options.backend, "ordered" in options.backend)
    quiet = Quiet(ALL - set(options.without), backend=backend, strict=options.strict)
    return _search(chosen, quiet, brief=options.brief)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("operation", nargs="*", metavar="OPERATION", help="search this scenario")
    parser.add_argument("--operations", type=int, default=2, help="else search all of up to so many operations")
    parser.add_argument("--without", action="append", default=[], choices=CORRECTIONS, help="take a correction away")
    parser.add_argument("--late", action="store_true", help="backend calls may take effect after their time limit")
    parser.add_argument(
        "--backend", action="append", default=[], choices=("exclusive", "ordered"), help="it promises more"
    )
    parser.add_argument("--strict", action="store_true", help="I5 also compares if a multiattach volume is deleted")
    parser.add_argument("--brief", action="store_true", help="print neither scenarios nor traces")
    parser.add_argument("--list", action="store_true", help="list corrections, invariants, operations and events")
    return parser


def _search(chosen: Iterable[Scenario], quiet: Quiet, *, brief: bool) -> int:
    total = count = 0
    shortest: dict[str, tuple[str, Trace]] = {}
    for scenario in chosen:
        for prompt in (False, True):
            result = explore(scenario, quiet, prompt=prompt)
            title = " | ".join(map(str, scenario)) + (" (prompt)" if prompt else "")
            total, count = total + result.states, count + 1
            if not brief:
                broken = ", ".join(f"{key} breaks in {len(t) - 1}" for key, t in sorted(result.broken.items()))
                print(f"{title:60}{result.states:8} states {result.quiet:6} quiet  {broken or 'holds'}", flush=True)
            for key, trace in result.broken.items():
                if key not in shortest or len(trace) < len(shortest[key][1]):
                    shortest[key] = title, trace
    for key, (title, trace) in sorted(shortest.items()):
        print(f"\n{key} breaks in {len(trace) - 1}: {title}", *([] if brief else describe(trace)), sep="\n")
    print(f"\n{count} scenarios, {total} states: {len(shortest)} of {len(INVARIANTS)} invariants break")
    return 1 if shortest else 0


def describe(trace: Trace) -> list[str]:
    """Return the lines of a trace."""
    return [
        f"{n:4}. {(event.who + ': ' if event.who else '') + event.what:<92} [{_summary(event.state)}]"
        for n, event in enumerate(trace)
    ]


def _summary(s: State) -> str:
    rows = [f"{name(server)} {_row(row)}" for server, row in enumerate(s.rows) if row]
    disks = " and ".join(map(name, sorted(s.disks))) or "nowhere"
    volume = "no volume"
    if s.volume:
        volume = ("" if s.volume.ours else "another project's ") + ("multiattach " if s.volume.multiattach else "")
    parts = [", ".join(rows) or "no row", f"disk {disks}", volume.strip()]
    return "; ".join(part for part in parts if part)


def _row(row: Row) -> str:
    words = [row.state, "" if row.exclusive else "shared", "with flag" if row.flag else ""]
    words.append("of negative age" if row.negative and row.state != ATTACHED else "")
    return " ".join(word for word in words if word)


if __name__ == "__main__":
    sys.exit(main())
