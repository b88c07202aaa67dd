"""``os-volume-ext reconcile``: make registry and backend agree, and say what was done."""

import argparse
import dataclasses
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from cliff.lister import Lister
from rich.console import Console
from rich.progress import track

from ..reconcile import AGREES, UNDECIDED, Finding
from . import paste

COLUMNS = tuple(field.name for field in dataclasses.fields(Finding))


class Reconcile(paste.OfFilter, Lister):  # type: ignore[misc]
    """Finish what a crash left unfinished. The exit status is 1 if something is undecided."""

    undecided = 0

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "--all", action="store_true", help="compare every attachment with the backend, not only unfinished ones"
        )

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Sequence[str], Iterable[Sequence[Any]]]:
        assembly = paste.assembly(parsed_args)
        total = assembly.registry.count(unfinished=not parsed_args.all)
        reconciler = assembly.reconciler
        walk: Iterable[Finding] = reconciler.everything() if parsed_args.all else reconciler.unfinished()
        if sys.stderr.isatty():
            walk = track(walk, description="Reconciling", total=total, console=Console(stderr=True))
        findings = list(walk)
        agreeing = sum(finding.outcome == AGREES for finding in findings)
        self.undecided = sum(finding.outcome == UNDECIDED for finding in findings)
        settled = len(findings) - agreeing - self.undecided
        self.app.stderr.write(f"{agreeing} agree, {settled} settled, {self.undecided} undecided\n")
        return COLUMNS, (dataclasses.astuple(finding) for finding in findings if finding.outcome != AGREES)

    def run(self, parsed_args: argparse.Namespace) -> int:
        status: int = super().run(parsed_args)
        return status or int(self.undecided > 0)
