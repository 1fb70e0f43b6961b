"""Statements hold quoted names, bound marks and constants, and nothing else (goal S1)."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from pipeline_platform_tests.security.built_sql import BuiltSql

PACKAGE = Path(__file__).parents[2] / "pipeline_platform"
FILES = sorted(PACKAGE.rglob("*.py"))

# What the syntax of one file cannot show. Each entry was read: its values are quoted names, types,
# numbers or texts of this package; none comes from a config, a source or a partition key as it is.
TRUSTED: Mapping[str, tuple[str, ...]] = {
    # A dialect's own words, and `table`, which quotes a name of the state schema.
    "drive_table/migrate.py": ("types",),
    "drive_table/queries.py": ("phases_of_runs:drive", "_json_of()"),
    "drive_table/schema.py": ("table()", "_columns()", "latest"),
    "drive_table/snowflake.py": ("self.dialect.clock", "self._table()"),
    "drive_table/snowflake_schema.py": ("table()", "_columns()", "types", "DIALECT.types",
                                        "DIALECT.clock"),
    "drive_table/snowflake_statements.py": ("self._inserted()",),
    # Clauses that the store's own methods pass, with marks for all values.
    "drive_table/statements.py": ("_insert_records:rows", "records:clauses", "change_ours:columns",
                                  "runs:where", "runs:order", "self._dialect.types"),
    # `table` is what `_table` quoted, `where` what `_bind` made of a quoted name.
    "sources/duckdb.py": ("_columns:table", "_change_value:table", "_change_value:where",
                          "_count:table", "_count:where", "read:expressions", "self._table()",
                          "self._bind()", "expressions.values()"),
    # A LoadTable's name is plain by construction, its schema comes quoted.
    "targets/snowflake.py": ("_check_stage:schema", "self._load_table()",
                             "snowflake_types.from_staged()"),
    "targets/snowflake_load.py": ("load.quoted", "schema", "_put:parallel"),
    "targets/sql_ownership.py": ("self._field()", "field"),
    "targets/sql_table.py": ("_count:field",),
    "targets/sql_target.py": ("self._field()", "_fence:fence", "check.sql"),
    # A person's own look at an account: only names that it makes up itself.
    "verify_snowflake/copies.py": ("self.table", "self.stage", "files.table",
                                   "files.stage", "files.names", "put:file", "place", "table",
                                   "files", "options"),
    "verify_snowflake/locks.py": ("table", "scratch.name()"),
    "verify_snowflake/scratch.py": ("schema",),
    "verify_snowflake/state.py": ("scratch.name()",),
    "verify_snowflake/windows.py": ("scratch.name()", "name", "columns", "what"),
}  # fmt: skip

PLANTED = [
    "def count(table):\n    return run(f'SELECT count(*) FROM {table}')",
    "def count(table):\n    return run('SELECT count(*) FROM ' + table)",
    "def count(table):\n    return run('SELECT count(*) FROM %s' % table)",
    "def count(table):\n    return run('SELECT count(*) FROM {}'.format(table))",
    "def count(table):\n    return run(' '.join(('SELECT count(*) FROM', table)))",
    "def count(table):\n    return run('SELECT count(*) FROM ' + ', '.join(t for t in table))",
    "def count(table):\n    name = table.upper()\n    return run(f'SELECT 1 FROM {name}')",
    "def count(config):\n    for name in config.names:\n        run(f'DROP TABLE {name}')",
    "def keys(key):\n    return f\"WHERE key = '{key}'\"",
    "def keys(key):\n    return f' AND partition = {key} '",
    "_GET = 'SELECT * FROM {table}'\ndef rows(table):\n    return run(_GET.format(table=table))",
    "def rows(self, table):\n    return run(self._sql(_GET, table=table))",
    "def rows(table):\n    return sql.SQL('SELECT * FROM ' + table)",
    "def rows(table):\n    return sql.SQL(table)",
    "def rows(table):\n    return (f'SELECT {quote_duckdb(table)} FROM x WHERE a = {table}')",
    "def rows(n):\n    l = ['a']\n    l.append(n)\n    run(f'SELECT {\", \".join(l)} FROM x')",
    "def _q(n):\n    return n\ndef rows(n):\n    return f'SELECT {_q(n)} FROM x'",
    "def grant(role):\n    return f'GRANT SELECT ON x TO {role}'",
    "def use(schema):\n    return f'USE SCHEMA {schema}'",
    "def put(path):\n    return f\"PUT 'file://{path}' @stage\"",
    "def copy(stage):\n    return 'COPY INTO t FROM {stage}'.format_map({'stage': stage})",
]
HONEST = [
    "def count(table):\n    return run(f'SELECT count(*) FROM {quote_duckdb(table)}')",
    "def count(n):\n    name = quote_duckdb(n)\n    return run('SELECT 1 FROM ' + name)",
    "def rows(ns):\n    return f'SELECT {\", \".join(quote_duckdb(n) for n in ns)} FROM x'",
    "KEYS = ('a', 'b')\ndef rows():\n    return f'SELECT 1 WHERE {\" AND \".join(KEYS)} '",
    "def _q(n):\n    return f'{n}::text'\ndef r(n):\n    return f'SELECT {_q(quote(n))} FROM x'",
    "def told(name):\n    raise PermanentError(f'There is no table {name!r}.')",
    "def rows(table):\n    return sql.SQL('SELECT * FROM {}').format(identifier(table))",
]


@pytest.mark.parametrize("source", PLANTED)
def test_a_planted_statement_is_found(source: str) -> None:
    assert BuiltSql(source).findings


@pytest.mark.parametrize("source", HONEST)
def test_an_honest_statement_is_not(source: str) -> None:
    assert BuiltSql(source).findings == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_no_statement_is_built_of_anything_else(path: Path) -> None:
    name = path.relative_to(PACKAGE).as_posix()
    found = BuiltSql(path.read_text(), TRUSTED.get(name, ()))
    told = [f"{name}:{one.line}: {one.hole} in {one.text}" for one in found.findings]
    assert told == []
    assert set(TRUSTED.get(name, ())) == found.used, "trusted, but not there any more"
