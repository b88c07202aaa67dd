"""What tests of the registry do to a database that nobody else should."""

from contextlib import contextmanager


@contextmanager
def behind_their_backs(database):
    """Give a connection that is nobody else's; it is committed."""
    engine = database.connect()
    try:
        with engine.begin() as connection:
            yield connection
    finally:
        engine.dispose()
