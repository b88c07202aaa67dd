"""``os-volume-ext reconcile``: make registry and backend consistent, and report the repairs."""

import argparse
import dataclasses
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from cliff.lister import Lister
from rich.console import Console
from rich.progress import track

from ..assembly import Assembly
from ..attachments.reconcile import Finding, Outcome
from . import config

COLUMNS = tuple(field.name for field in dataclasses.fields(Finding))


class Reconcile(config.FilterCommand, Lister):  # type: ignore[misc]
    """Repair what crashes left. The exit status is 1 if anything is unresolved or, in a dry run, needs repair."""

    unrepaired = 0
    summary = ""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "--all", action="store_true", help="compare every attachment with the backend, not only stale ones"
        )
        parser.add_argument("--server", help="only this server")
        parser.add_argument("--dry-run", action="store_true", help="report what needs repair and change nothing")

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Sequence[str], Iterable[Sequence[Any]]]:
        with config.assembled(parsed_args, read_only=parsed_args.dry_run) as assembly:
            findings = list(self._reconcile(assembly, parsed_args))
        count = Counter(finding.outcome for finding in findings)
        self.unrepaired = count[Outcome.UNRESOLVED] + count[Outcome.NEEDS_REPAIR]
        shown = (
            Outcome.CONSISTENT,
            Outcome.NEEDS_REPAIR if parsed_args.dry_run else Outcome.REPAIRED,
            Outcome.UNRESOLVED,
        )
        self.summary = ", ".join(f"{count[outcome]} {outcome}" for outcome in shown)
        return COLUMNS, (
            dataclasses.astuple(finding) for finding in findings if finding.outcome is not Outcome.CONSISTENT
        )

    def _reconcile(self, assembly: Assembly, arguments: argparse.Namespace) -> Iterable[Finding]:
        """Return the findings as they are made, with a progress bar on a terminal."""
        server_id = config.optional_id(arguments.server, assembly.settings, "server")
        reconciler = assembly.reconciler()
        reconcile = reconciler.reconcile_all if arguments.all else reconciler.reconcile_stale
        findings: Iterable[Finding] = reconcile(server_id, dry_run=arguments.dry_run)
        if not sys.stderr.isatty():
            return findings
        total = assembly.registry.count(server_id, pending=not arguments.all)
        return track(findings, description="Reconciling", total=total, console=Console(stderr=True))

    def run(self, parsed_args: argparse.Namespace) -> int:
        status: int = super().run(parsed_args)
        self.app.stdout.flush()
        self.app.stderr.write(f"{self.summary}\n")  # the last line on a terminal, and not part of the output
        return status or int(self.unrepaired > 0)
