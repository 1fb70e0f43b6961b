import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline_platform.errors import ConfigurationError
from pipeline_platform.quoting import (
    fold_snowflake,
    quote_duckdb,
    quote_postgres,
    quote_snowflake,
)
from pipeline_platform_tests.servers.postgres import Database

HOSTILE = [
    'a"b', '""', '"; DROP TABLE x; --', "a.b", "a\nb", "two words", "größe 日本 🦆", "'", "\\",
    "%s", "{}", "?", "$1", "select", "\t", "\x7f",
]  # fmt: skip
NAMES = st.one_of(
    st.sampled_from(HOSTILE),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1),
)


@given(NAMES)
@settings(max_examples=150)
def test_any_name_goes_through_duckdb(name: str) -> None:
    connection = duckdb.connect()
    connection.execute(" ".join(("SELECT 1 AS", quote_duckdb(name))))
    assert [column[0] for column in connection.description or ()] == [name]
    connection.close()


@pytest.fixture
def session(postgres: Database) -> Database:
    return postgres


@given(NAMES)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_name_goes_through_postgres_or_is_refused(session: Database, name: str) -> None:
    try:
        quoted = quote_postgres(name)
    except ConfigurationError:
        assert len(name.encode()) > 63
        return
    with session.connect() as connection:
        cursor = connection.execute(b"SELECT 1 AS " + quoted.encode())
        assert cursor.description is not None
        assert [column.name for column in cursor.description] == [name]


@pytest.mark.parametrize("quote", [quote_duckdb, quote_postgres, quote_snowflake])
def test_names_that_cannot_be_are_refused(quote: "type[str]") -> None:
    for name in ("", "a\x00b"):
        with pytest.raises(ConfigurationError):
            quote(name)


def test_postgres_never_cuts_a_name() -> None:
    assert quote_postgres("a" * 63) == '"' + "a" * 63 + '"'
    for name in ("a" * 64, "ö" * 32, "x" * 256):
        with pytest.raises(ConfigurationError, match="63"):
            quote_postgres(name)
    assert quote_duckdb("x" * 256) == '"' + "x" * 256 + '"'


@pytest.mark.parametrize(
    ("name", "quoted"),
    [
        ("orders", '"ORDERS"'),
        ("_pipeline_name", '"_PIPELINE_NAME"'),
        ("a1$b", '"A1$B"'),
        ("ORDERS", '"ORDERS"'),
        ("Orders", '"Orders"'),
        ("two words", '"two words"'),
        ("1st", '"1st"'),
        ("größe", '"größe"'),
        ("orders\n", '"orders\n"'),
        ('a"; DROP TABLE x; --', '"a""; DROP TABLE x; --"'),
    ],
)
def test_snowflake_folds_plain_lower_case_only(name: str, quoted: str) -> None:
    assert quote_snowflake(name) == quoted
    assert quote_snowflake(fold_snowflake(name)) == quoted


@given(NAMES)
def test_any_name_stays_one_snowflake_identifier(name: str) -> None:
    try:
        quoted = quote_snowflake(name)
    except ConfigurationError:
        assert len(name) > 255
        return
    assert quoted[0] == quoted[-1] == '"'
    assert quoted[1:-1].replace('""', "").count('"') == 0
    assert quoted[1:-1].replace('""', '"') == fold_snowflake(name)


def test_snowflake_never_cuts_a_name() -> None:
    assert quote_snowflake("ö" * 255) == '"' + "ö" * 255 + '"'
    with pytest.raises(ConfigurationError, match="255"):
        quote_snowflake("a" * 256)
