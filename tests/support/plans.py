"""How a database finds the rows of a statement, as it explains it itself."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from sqlalchemy import Connection
from sqlalchemy.sql.elements import ClauseElement

from os_volume_ext.registry.compiled import Compiled


class Plan(NamedTuple):
    """What is done for a statement of one table."""

    columns: tuple[str, ...]
    """By which columns of an index the rows are found; none if all rows, or all entries of an index, are read."""
    only_index: bool
    """Whether the rows themselves are not read."""
    sorts: bool
    """Whether all that was found is sorted afterwards."""
    index: str | None
    """The index that is read, as the database calls it."""


def explain(connection: Connection, statement: ClauseElement, **parameters: Any) -> Plan:
    """Return the plan of a statement, as the registry executes it.

    :param parameters: the statement's, and others, which are ignored.
    """
    prefix, read = _DIALECTS[connection.dialect.name]
    compiled = Compiled(statement, connection.dialect)
    result = connection.exec_driver_sql(f"{prefix} {compiled.text}", tuple(compiled.values(parameters)))
    return read([tuple(row) for row in result])


def _sqlite(rows: list[tuple[Any, ...]]) -> Plan:
    steps = [row[3] for row in rows]
    [access] = [step for step in steps if step.startswith(("SEARCH ", "SCAN "))]
    return Plan(
        # A primary key that is an integer is the row's number.
        columns=tuple(re.findall(r"(\w+)[<>=]+\?", access.replace("rowid=", "id="))),
        only_index=" COVERING INDEX " in access,
        sorts=any(step.startswith("USE TEMP B-TREE") for step in steps),
        index=next(iter(re.findall(r" INDEX (\w+)", access)), None),
    )


def _postgresql(rows: list[tuple[Any, ...]]) -> Plan:
    nodes = list(_objects(rows[0][0]))
    # A bitmap of an index has the condition, and the scan of the heap that uses it has not.
    conditions = [node["Index Cond"] for node in nodes if "Index Cond" in node]
    assert len(conditions) < 2, rows
    kinds = [node["Node Type"] for node in nodes if "Node Type" in node]
    return Plan(
        columns=tuple(re.findall(r"\(+(\w+)\)?(?:::\w+)? [<>=]+ ", "".join(conditions))),
        only_index="Index Only Scan" in kinds,
        sorts="Sort" in kinds,  # "Incremental Sort" sorts only what has the same beginning
        index=next((node["Index Name"] for node in nodes if "Index Name" in node), None),
    )


def _mariadb(rows: list[tuple[Any, ...]]) -> Plan:
    plan = json.loads(rows[0][0])
    objects = list(_objects(plan))
    [access] = [each for each in objects if "access_type" in each]
    reads_all = access["access_type"] in ("ALL", "index")
    return Plan(
        columns=() if reads_all else tuple(access["used_key_parts"]),
        only_index=access.get("using_index", False),
        sorts=any({"filesort", "read_sorted_file", "temporary_table"} & each.keys() for each in objects),
        index=access.get("key"),
    )


def _objects(value: Any) -> Iterator[Mapping[str, Any]]:
    """Yield all objects of a document."""
    if isinstance(value, list):
        for each in value:
            yield from _objects(each)
    elif isinstance(value, dict):
        yield value
        yield from _objects(list(value.values()))


_DIALECTS = {
    "sqlite": ("EXPLAIN QUERY PLAN", _sqlite),
    "postgresql": ("EXPLAIN (FORMAT JSON)", _postgresql),
    "mysql": ("EXPLAIN FORMAT=JSON", _mariadb),
    "mariadb": ("EXPLAIN FORMAT=JSON", _mariadb),
}
