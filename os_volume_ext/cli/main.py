"""The command itself: what is common to all sub-commands, which entry points name."""

import logging
import sys
from importlib.metadata import version

from cliff.app import App
from cliff.commandmanager import CommandManager

LEVELS = (logging.ERROR, logging.WARNING, logging.INFO, logging.DEBUG)


class Shell(App):  # type: ignore[misc]
    """``os-volume-ext``."""

    def __init__(self) -> None:
        super().__init__(
            description="Serve, fill and mend the os-volume_attachments extension.",
            version=version("os-volume-ext"),
            command_manager=CommandManager("os_volume_ext.cli"),
            deferred_help=True,
        )

    def configure_logging(self) -> None:
        """Log warnings, with ``-v`` what is done, with ``-vv`` everything; to standard error or to ``--log-file``."""
        level = LEVELS[min(self.options.verbose_level, len(LEVELS) - 1)]
        logging.basicConfig(
            level=level, format="%(asctime)s %(levelname)s %(name)s %(message)s", filename=self.options.log_file
        )
        logging.getLogger("alembic").setLevel(max(level, logging.WARNING))
        # What ends a command is said as other commands say it, without time and level.
        said = logging.StreamHandler()
        said.setFormatter(logging.Formatter("os-volume-ext: %(message)s"))
        self.LOG.handlers = [said]
        self.LOG.propagate = False

    def interact(self) -> int:
        """Say what commands there are, to who gave none; there is no shell of our own."""
        self.options.deferred_help = True
        self.print_help_if_requested()
        return 0


def main(argv: list[str] | None = None) -> int:
    """Run the command.

    :param argv: the arguments; None for the process's own.
    :return: the exit status: 0, 1 if something went wrong or is not decided, 2 for a wrong call.
    """
    status: int = Shell().run(sys.argv[1:] if argv is None else argv)
    return status


if __name__ == "__main__":
    sys.exit(main())
