"""Statements of SQLAlchemy Core that are compiled once: from then on only parameters and columns are converted."""

from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter, itemgetter
from typing import Any

from sqlalchemy import Boolean, Select
from sqlalchemy.engine import Dialect
from sqlalchemy.sql.elements import ClauseElement
from sqlalchemy.types import TypeEngine

from ..models import Attachment, Volume

Row = Sequence[Any]
Parameters = dict[str, Any] | Attachment | Volume
"""Values by the names of the parameters; or an object, whose attributes have these names without ``new_``.

To make a mapping of a row with its 20 fields, and to read that, takes five times as long.
"""
NONE: Parameters = {}

_Processor = Callable[[Any], Any]


class Compiled:
    """A statement in the SQL of one dialect."""

    def __init__(self, statement: ClauseElement, dialect: Dialect) -> None:
        """Compile a statement.

        :param dialect: of a driver whose parameters are positional.
        """
        compiled = dialect.statement_compiler(dialect, statement)
        binds = compiled.binds
        self.text = str(compiled)
        names: Sequence[str] = compiled.positiontup or ()
        self._items = _getter(itemgetter, names)
        self._attributes = _getter(attrgetter, [name.removeprefix("new_") for name in names])
        self._constants = {name: bind.value for name, bind in binds.items() if not bind.required}
        self._bind = _by_place(_bind_processor(binds[name].type, dialect) for name in names)
        columns = statement.selected_columns if isinstance(statement, Select) else ()
        self._read = _by_place(_result_processor(column.type, dialect) for column in columns)

    def values(self, parameters: Parameters) -> Sequence[Any]:
        """Return the driver's parameters.

        :param parameters: the statement's.
        """
        if isinstance(parameters, dict):
            given = self._items({**self._constants, **parameters} if self._constants else parameters)
        else:
            given = self._attributes(parameters)
        if not self._bind:
            return given
        values = list(given)
        for place, process in self._bind:
            values[place] = process(values[place])
        return values

    def rows(self, found: Sequence[Row]) -> Sequence[Row]:
        """Convert the driver's rows."""
        return list(map(self._row, found)) if self._read else found

    def _row(self, row: Row) -> Row:
        values = list(row)
        for place, process in self._read:
            values[place] = process(values[place])
        return values


def _getter(read: Any, names: Sequence[str]) -> Callable[[Any], Sequence[Any]]:
    """Return what reads several values at once: ``itemgetter`` or ``attrgetter``, also of one name or none."""
    if len(names) > 1:
        several: Callable[[Any], Sequence[Any]] = read(*names)
        return several
    if names:
        one = read(*names)
        return lambda given: (one(given),)
    return lambda given: ()


def _bind_processor(of: TypeEngine[Any], dialect: Dialect) -> _Processor | None:
    if isinstance(of, Boolean):
        # Each driver takes a bool, but sqlite3 looks for an adapter of it, for 3 thousand instructions.
        return int if dialect.name == "sqlite" else None
    return of.dialect_impl(dialect).bind_processor(dialect)


def _result_processor(of: TypeEngine[Any], dialect: Dialect) -> _Processor | None:
    return of.dialect_impl(dialect).result_processor(dialect, None)


def _by_place(processors: Iterable[_Processor | None]) -> Sequence[tuple[int, _Processor]]:
    return [(place, process) for place, process in enumerate(processors) if process is not None]
