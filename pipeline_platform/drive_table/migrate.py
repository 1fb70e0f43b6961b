"""Bringing the schema of the drive table up to date."""

from collections.abc import Callable, Sequence

from pipeline_platform.drive_table.schema import MIGRATIONS, Dialect, Migration
from pipeline_platform.drive_table.statements import Statements
from pipeline_platform.errors import ConfigurationError


def version_of(statements: Statements, schema: str, known: Sequence[Migration]) -> int:
    """Number of the last migration that was applied; 0 for none.

    ConfigurationError if it is one that this installation does not know.
    """
    exists = statements.rows(
        "SELECT 1 FROM information_schema.tables "
        "WHERE table_schema = :schema AND table_name = :table",
        {"schema": schema, "table": MIGRATIONS},
    )
    return applied_version(statements, schema, known) if exists else 0


def applied_version(statements: Statements, schema: str, known: Sequence[Migration]) -> int:
    """The same where the table of migrations exists."""
    [row] = statements.rows("SELECT coalesce(max(version), 0) AS version FROM {migrations}", {})
    version: int = row["version"]
    if version > known[-1].version:
        raise ConfigurationError(
            f"The state schema {schema} has version {version}; this installation knows versions "
            f"up to {known[-1].version}.",
            hint="Update pipeline-platform here: a newer one has already used this schema.",
        )
    return version


def apply_missing(
    statements: Statements,
    dialect: Dialect,
    schema: str,
    known: Sequence[Migration],
    prepare_schema: Callable[[Statements], None],
) -> None:
    """Apply what is missing, in the caller's transaction.

    `prepare_schema` waits until no other process migrates and creates the schema; so the version
    is looked at after it.
    """
    prepare_schema(statements)
    types = dialect.types
    statements.change(
        f"CREATE TABLE IF NOT EXISTS {{migrations}} (version {types['integer']} PRIMARY KEY, "
        f"description {types['text']} NOT NULL, applied_at {types['timestamp']} NOT NULL)",
        {},
    )
    done = version_of(statements, schema, known)
    for migration in known:
        if migration.version <= done:
            continue
        for statement in migration.statements:
            statements.run_as_written(statement)
        statements.change(
            "INSERT INTO {migrations} (version, description, applied_at) "
            "VALUES (:version, :description, {clock})",
            {"version": migration.version, "description": migration.description},
        )
