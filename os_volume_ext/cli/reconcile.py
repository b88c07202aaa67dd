"""``os-volume-ext reconcile``: make registry and backend agree, and say what was done."""

import argparse
import dataclasses
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from cliff.lister import Lister
from rich.console import Console
from rich.progress import track

from ..attachments.reconcile import CONSISTENT, NEEDS_REPAIR, REPAIRED, UNRESOLVED, Finding
from . import config

COLUMNS = tuple(field.name for field in dataclasses.fields(Finding))


class Reconcile(config.FilterCommand, Lister):  # type: ignore[misc]
    """Finish what a crash left unfinished. The exit status is 1 if something is left that does not agree."""

    left = 0

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "--all", action="store_true", help="compare every attachment with the backend, not only unfinished ones"
        )
        parser.add_argument("--server", help="look at this server only")
        parser.add_argument("--dry-run", action="store_true", help="say what is to be done, and do nothing")

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Sequence[str], Iterable[Sequence[Any]]]:
        assembly = config.assembly(parsed_args)
        server_id = parsed_args.server and config.canonical_id(parsed_args.server, assembly.settings, "server")
        reconciler = assembly.reconciler(parsed_args.dry_run)
        walk: Iterable[Finding] = (reconciler.reconcile_all if parsed_args.all else reconciler.reconcile_stale)(
            server_id
        )
        if sys.stderr.isatty():
            total = assembly.registry.count(server_id, pending=not parsed_args.all)
            walk = track(walk, description="Reconciling", total=total, console=Console(stderr=True))
        findings = list(walk)
        assembly.observers.close()
        count = Counter(finding.outcome for finding in findings)
        self.left = count[UNRESOLVED] + count[NEEDS_REPAIR]
        done = NEEDS_REPAIR if parsed_args.dry_run else REPAIRED
        self.app.stderr.write(f"{count[CONSISTENT]} agree, {count[done]} {done}, {count[UNRESOLVED]} undecided\n")
        return COLUMNS, (dataclasses.astuple(finding) for finding in findings if finding.outcome != CONSISTENT)

    def run(self, parsed_args: argparse.Namespace) -> int:
        status: int = super().run(parsed_args)
        return status or int(self.left > 0)
