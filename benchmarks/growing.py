"""Databases whose table of attachments grows to millions of rows, made on the servers that the tests use.

The servers' ids and the volumes' are spread like random ones, and both Python and the database can compute them. Each
server has ten volumes.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from sqlalchemy import Connection, Engine, MetaData, Table, UniqueConstraint, create_engine, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import OperationalError
from sqlalchemy.schema import AddConstraint, CreateIndex, DropConstraint, DropIndex, ExecutableDDLElement

from os_volume_ext.registry import schema, tables
from os_volume_ext.registry.database import Database

from .measure import Skipped

PER_SERVER = 10
FREE_VOLUMES = 1_000
PROJECT = "demo"
KINDS = {"postgresql": "PostgreSQL", "mariadb": "MariaDB"}
VOLUME, SERVER, CLAIM, FREE_VOLUME = 1, 2, 3, 4
"""What an id is of."""

# An odd factor is a permutation of the numbers below 2**32.
_FACTOR, _MODULUS = 2_654_435_761, 2**32
_TAIL = "-0000-4000-8000-{kind:012x}"
_COLUMNS = (
    "volume_id, exclusive_volume_id, server_id, id, claim_id, project_id, device, root, delete_on_termination, state, "
    "request_id, created_at, updated_at"
)
_VALUES = "volume, volume, server, claim, claim, :project, {device}, false, false, 'attached', 'req-1', {time}, {time}"
_FILL = {
    "postgresql": (
        "INSERT INTO attachments ({columns}) SELECT {values} FROM "
        "(SELECT n, {volume} AS volume, {server} AS server, {claim} AS claim "
        "FROM generate_series(CAST({first} AS bigint), {last}) AS numbers(n)) AS made"
    ),
    # In the order of the primary key, by which its rows are stored.
    "mariadb": (
        "INSERT INTO attachments ({columns}) SELECT {values} FROM "
        "(SELECT seq AS n, {volume} AS volume, {server} AS server, {claim} AS claim "
        "FROM seq_{first}_to_{last}) AS made ORDER BY volume"
    ),
}
_NUMBER = {"postgresql": ("n", "n / 10"), "mariadb": ("seq", "seq DIV 10")}
_HEX = {"postgresql": "to_hex", "mariadb": "hex"}
_DEVICE = {
    "postgresql": "concat('/dev/vd', chr(CAST(98 + n % 10 AS integer)))",
    "mariadb": "concat('/dev/vd', char(98 + n % 10))",
}
_TIME = {
    "postgresql": "timestamp '2026-01-01' + n * interval '1 second'",
    "mariadb": "timestamp('2026-01-01') + INTERVAL n SECOND",
}
_STATISTICS = {"postgresql": "VACUUM ANALYZE attachments", "mariadb": "ANALYZE TABLE attachments"}
_SIZE = {
    "postgresql": "SELECT pg_total_relation_size('attachments')",
    "mariadb": (
        "SELECT file_size FROM information_schema.innodb_sys_tablespaces "
        "WHERE name = concat(database(), '/attachments')"
    ),
}
_CONNECTIONS = {
    "postgresql": (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid != pg_backend_pid()"
    ),
    "mariadb": "SELECT count(*) FROM information_schema.processlist WHERE db = database() AND id != connection_id()",
}


def id_of(number: int, kind: int) -> str:
    """Return an id, such as that of the tenth volume."""
    return f"{number * _FACTOR % _MODULUS:08x}{_TAIL.format(kind=kind)}"


class Growing:
    """A database and its size."""

    def __init__(self, kind: str, url: str, engine: Engine) -> None:
        """Use a database whose table of attachments is empty.

        :param kind: of ``KINDS``.
        :param url: of the filter.
        :param engine: on which each statement commits itself.
        """
        self.kind = kind
        self.url = url
        self.rows = 0
        self._engine = engine

    def grow(self, rows: int) -> None:
        """Insert attachments, and make statistics for the planner.

        :param rows: how many there shall be.
        """
        if rows <= self.rows:
            return
        with self._engine.connect() as connection:
            self._fill(connection, rows)
            connection.exec_driver_sql(_STATISTICS[self.kind])
        self.rows = rows

    def add_free_volumes(self) -> None:
        """Add volumes to the catalog that are attached nowhere."""
        new = tables.volumes.insert().values(project_id=PROJECT, multiattach=False, created_at=tables.utc_now())
        with self._engine.connect() as connection:
            connection.execute(new, [{"id": id_of(number, FREE_VOLUME)} for number in range(FREE_VOLUMES)])

    def size(self) -> int:
        """Return the bytes that the attachments and their indexes take on the disk."""
        return self._number(_SIZE)

    def connections(self) -> int:
        """Return how many other connections the database has."""
        return self._number(_CONNECTIONS)

    def _number(self, statements: dict[str, str]) -> int:
        with self._engine.connect() as connection:
            return int(connection.exec_driver_sql(statements[self.kind]).scalar_one())

    def _fill(self, connection: Connection, rows: int) -> None:
        # One index after the other is made in a fraction of the time that inserting into all of them takes.
        drop, create = self._indexes()
        if self.kind == "postgresql":
            connection.exec_driver_sql("SET maintenance_work_mem = '512MB'")
        for statement in drop:
            connection.execute(statement)
        connection.execute(text(self._insert(self.rows, rows - 1)), {"project": PROJECT})
        for statement in create:
            connection.execute(statement)

    def _indexes(self) -> tuple[list[ExecutableDDLElement], list[ExecutableDDLElement]]:
        """Return what drops the indexes, and what creates them again. MariaDB stores the rows in the primary key."""
        table = _copy(tables.attachments)
        constraints = [each for each in table.constraints if isinstance(each, UniqueConstraint)]
        if self.kind == "postgresql":
            constraints.append(table.primary_key)  # type: ignore[arg-type]
        return (
            [*map(DropConstraint, constraints), *map(DropIndex, table.indexes)],
            [*map(AddConstraint, constraints), *map(CreateIndex, table.indexes)],
        )

    def _insert(self, first: int, last: int) -> str:
        number, server = _NUMBER[self.kind]
        values = _VALUES.format(device=_DEVICE[self.kind], time=_TIME[self.kind])
        return _FILL[self.kind].format(
            columns=_COLUMNS,
            values=values,
            volume=self._id(number, VOLUME),
            server=self._id(server, SERVER),
            claim=self._id(number, CLAIM),
            first=first,
            last=last,
        )

    def _id(self, number: str, kind: int) -> str:
        """Return an expression of SQL for ``id_of``."""
        spread = f"lower(lpad({_HEX[self.kind]}(({number}) * {_FACTOR} % {_MODULUS}), 8, '0'))"
        return f"concat({spread}, '{_TAIL.format(kind=kind)}')"


def _copy(table: Table) -> Table:
    # AddConstraint changes the constraint: the table would not have it if it were created later.
    return table.to_metadata(MetaData(naming_convention=tables.metadata.naming_convention))


@contextmanager
def growing(kind: str) -> Iterator[Growing]:
    """Provide a new database; it is dropped at the end.

    :param kind: of ``KINDS``.
    :raises Skipped: if there is no server.
    """
    from tests.support.databases import SERVERS, Server

    # With commits that survive a power cut, unlike in tests.
    address = make_url(SERVERS[kind]).difference_update_query(["options"]).render_as_string(hide_password=False)
    with ExitStack() as stack:
        try:
            server = Server(address, stack)
        except OperationalError as error:
            raise Skipped(f"no {KINDS[kind]} at {address}: {error.orig}") from None
        url = stack.enter_context(server.new())
        schema.upgrade(Database({"url": url}))
        engine = create_engine(url, isolation_level="AUTOCOMMIT")
        stack.callback(engine.dispose)
        database = Growing(kind, url, engine)
        database.add_free_volumes()
        yield database
