"""A database that can't be used: the start, the commands and the check say in a sentence what is wrong."""

import pytest
from sqlalchemy.engine import make_url

from os_volume_ext.errors import ConfigurationError
from os_volume_ext.registry import schema
from os_volume_ext.registry.attachments import Registry
from tests.support.command import error_message
from tests.support.ports import free_port
from tests.support.rows import attachment

pytestmark = pytest.mark.only_on("postgresql", "mariadb")

UNKNOWN = "no_such_option"
LATIN = {"postgresql": "ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0", "mariadb": "CHARACTER SET latin1"}
ENCODING_OPTION = {"postgresql": "client_encoding", "mysql": "charset"}


@pytest.fixture
def url(database_kind):
    with database_kind.new() as url:
        yield url


def changed(url, **parts):
    return make_url(url).set(**parts).render_as_string(hide_password=False)


def with_option(url, **options):
    return make_url(url).update_query_dict(options).render_as_string(hide_password=False)


@pytest.fixture
def refusals(run, make_database):
    """Give ``refusals(url)``: what the start, each command and the check say about a database; all refuse it."""

    def collect(url):
        with pytest.raises(ConfigurationError) as start:
            schema.ensure(make_database(url))
        commands = (("db", "upgrade"), ("db", "current"), ("attachment", "list"), ("reconcile",))
        errors = [error_message(lambda *arguments: run(url, *arguments), *command) for command in commands]
        status, out, err = run(url, "check", "-f", "value")
        assert (status, err) == (1, "")
        rows = [line for line in out.splitlines() if line.startswith(("volumes database ", "volumes options "))]
        [wrong] = [row for row in rows if row.split()[2] == "wrong"]
        return [str(start.value), wrong, *errors]

    return collect


def assert_sentences(found, *words):
    """Check that each is one line that has the words, as if nothing had been raised."""
    for each in found:
        assert "\n" not in each.strip()
        assert "Traceback" not in each
        assert "database.url" in each
        for word in words:
            assert word in each


def test_an_option_that_the_driver_does_not_know_is_named(url, refusals):
    assert_sentences(refusals(with_option(url, no_such_option="1")), UNKNOWN)


@pytest.mark.only_on("mariadb")
def test_a_missing_file_of_certificates_is_reported(url, refusals):
    without_options = make_url(url).set(query={}).render_as_string(hide_password=False)
    assert_sentences(
        refusals(with_option(without_options, ssl_ca="/nowhere/ca.pem")), "a file that an option", "ssl_ca"
    )


@pytest.mark.only_on("postgresql")
@pytest.mark.parametrize("name", ["sslmode", "target_session_attrs", "connect_timeout", "read_timeout"])
def test_a_value_that_an_option_may_not_have_is_named(url, refusals, name):
    assert_sentences(refusals(with_option(url, **{name: "sometimes"})), name, "sometimes")


def test_a_database_that_does_not_exist_is_named(url, refusals):
    found = refusals(changed(url, database="no_such_database"))
    assert_sentences(found, "no_such_database")
    # PostgreSQL says so itself; of MariaDB's "Unknown database" the remedy is added.
    assert all("does not exist" in each or "create an empty database" in each for each in found)


def test_a_server_that_does_not_respond_is_named(url, refusals):
    port = free_port()
    assert_sentences(refusals(changed(url, port=port)), str(port))


def test_a_host_that_does_not_exist_is_named(url, refusals):
    assert_sentences(refusals(changed(url, host="db.invalid")), "db.invalid")


def test_a_user_who_does_not_exist_is_named_and_the_password_is_not(url, refusals):
    found = refusals(changed(url, username="nobody_here", password="s3cret"))
    assert_sentences(found, "nobody_here")
    assert not [each for each in found if "s3cret" in each]


def test_an_encoding_that_has_not_all_characters_is_refused_in_the_url(url, refusals):
    name = ENCODING_OPTION[make_url(url).get_backend_name()]
    assert_sentences(refusals(with_option(url, **{name: "latin1"})), f"{name}=latin1", "must be utf")


@pytest.mark.only_on("postgresql")
def test_a_database_of_a_wrong_encoding_is_refused_with_the_remedy(database_kind, refusals):
    with database_kind.new(options=LATIN["postgresql"]) as url:
        assert_sentences(refusals(url), "LATIN1", "UTF8")


@pytest.mark.only_on("mariadb")
def test_a_mariadb_of_another_encoding_keeps_any_character(database_kind, make_database):
    with database_kind.new(options=LATIN["mariadb"]) as url:
        database = make_database(url)
        schema.upgrade(database)
        Registry(database).reserve(attachment("1", project_id="проект"))
        assert Registry(database).get("1134", "1").project_id == "проект"
