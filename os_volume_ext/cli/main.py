"""The command ``os-volume-ext``; entry points name its sub-commands."""

import logging
import sys
from importlib.metadata import distribution

from cliff.app import App
from cliff.commandmanager import CommandManager

LEVELS = (logging.ERROR, logging.WARNING, logging.INFO, logging.DEBUG)


class Commands(CommandManager):  # type: ignore[misc]
    """The commands of this package; cliff's own class would import them all, and with them what only some need."""

    def load_commands(self, namespace: str) -> None:
        """Find the commands of a group of entry points."""
        self.group_list.append(namespace)
        points = distribution("os-volume-ext").entry_points.select(group=namespace)
        self.commands.update({point.name.replace("_", " "): point for point in points})


class Shell(App):  # type: ignore[misc]
    """``os-volume-ext``."""

    def __init__(self) -> None:
        super().__init__(
            description="Administer the os-volume_attachments extension.",
            version=distribution("os-volume-ext").version,
            command_manager=Commands("os_volume_ext.cli"),
            deferred_help=True,
        )

    def configure_logging(self) -> None:
        """Log warnings, with ``-v`` also progress, with ``-vv`` everything; to standard error or to ``--log-file``."""
        level = LEVELS[min(self.options.verbose_level, len(LEVELS) - 1)]
        logging.basicConfig(
            level=level, format="%(asctime)s %(levelname)s %(name)s %(message)s", filename=self.options.log_file
        )
        logging.getLogger("alembic").setLevel(max(level, logging.WARNING))
        # The error that ends a command is printed as by other commands, without time and level.
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("os-volume-ext: %(message)s"))
        self.LOG.handlers = [handler]
        self.LOG.propagate = False

    def interact(self) -> int:
        """List the commands: without arguments, cliff would start an interactive shell."""
        self.options.deferred_help = True
        self.print_help_if_requested()
        return 0


def main(argv: list[str] | None = None) -> int:
    """Run the command.

    :param argv: the arguments; None for the process's own.
    :returns: the exit status: 0; 1 if something failed or is unresolved; 2 for invalid arguments.
    """
    status: int = Shell().run(sys.argv[1:] if argv is None else argv)
    return status


if __name__ == "__main__":
    sys.exit(main())
