"""What Snowflake is sent where the test server cannot run it, or runs it otherwise."""

from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pipeline_platform.config.snowflake import SnowflakeTarget
from pipeline_platform.errors import ConfigurationError, PermanentError, VerificationError
from pipeline_platform.movement import LoadRequest, Manifest, StagedFile
from pipeline_platform.query_field import QueryField
from pipeline_platform.targets import build_target, snowflake_load, snowflake_types
from pipeline_platform.targets.columns import TargetColumn, misfit
from pipeline_platform_tests.targets.recorded import RecordedConnection, recorded_session
from pipeline_platform_tests.targets.staged import SCHEMA, WINDOW, Staging, rows_of

SCHEMA_NAME = '"DB"."ANALYTICS"'
LOAD = snowflake_load.load_table(SCHEMA_NAME, "orders", WINDOW, 3)


@pytest.fixture
def request_of_files(tmp_path: Path) -> LoadRequest:
    return Staging(tmp_path).request(rows_of(23), epoch=3)


def many(request: LoadRequest, count: int) -> LoadRequest:
    """The same request with so many files of one row."""
    files = tuple(StagedFile(f"part-{n:05}.parquet", 10, 1, "0" * 64) for n in range(count))
    manifest = replace(request.manifest, files=files, rows=count)
    locations = tuple(f"s3://bucket/stage/{file.path}" for file in files)
    return replace(request, manifest=manifest, files=locations)


def copied(statement: str) -> list[dict[str, Any]]:
    """What COPY answers: one row for each file that it names."""
    if not statement.startswith("COPY"):
        return []
    names = statement.split("FILES = (")[1].split(")")[0].replace("'", "").split(", ")
    return [
        {"file": f"s3://bucket/stage/{name}", "status": "LOADED", "rows_loaded": 1}
        for name in names
    ]


def sent(session: Any) -> list[str]:
    connection = session.connection
    assert isinstance(connection, RecordedConnection)
    return connection.statements


def fill(session: Any, request: LoadRequest, stage: str | None = None) -> snowflake_load.Copied:
    return snowflake_load.fill(session, LOAD, request, external_stage=stage, parallel=4)


# Copying


def test_a_thousand_files_to_a_statement(request_of_files: LoadRequest) -> None:
    session = recorded_session(copied)
    result = fill(session, many(request_of_files, 2_345), '"DB"."S"."BUCKET"')
    assert [text.count(".parquet") for text in sent(session)] == [1_000, 1_000, 345]
    assert sum(result.rows.values()) == 2_345


@pytest.mark.fault_row(21)
def test_copies_named_files_once_and_keeps_them(request_of_files: LoadRequest) -> None:
    session = recorded_session(copied)
    fill(session, many(request_of_files, 2), '"DB"."S"."BUCKET"')
    [text] = sent(session)
    assert text == (
        'COPY INTO "DB"."ANALYTICS"."ORDERS_LOAD_20251115T100000_227F432CBDCA_RUN3" FROM '
        '@"DB"."S"."BUCKET"/orders/20251115T100000Z/run3/ FILES = (\'part-00000.parquet\', '
        "'part-00001.parquet') FILE_FORMAT = (TYPE = PARQUET USE_VECTORIZED_SCANNER = TRUE "
        "USE_LOGICAL_TYPE = TRUE BINARY_AS_TEXT = FALSE) MATCH_BY_COLUMN_NAME = CASE_INSENSITIVE "
        "ON_ERROR = ABORT_STATEMENT"
    )


@pytest.mark.parametrize(
    "changed",
    [
        {"status": "LOAD_FAILED"},
        {"status": "PARTIALLY_LOADED"},
        {"status": "LOAD_SKIPPED", "rows_loaded": 0},
        {"rows_loaded": 2},
        {"file": "s3://bucket/stage/other.parquet"},
    ],
)
@pytest.mark.fault_row(19)
def test_a_file_that_was_not_copied_whole(
    request_of_files: LoadRequest, changed: dict[str, Any]
) -> None:
    session = recorded_session(lambda text: [{**row, **changed} for row in copied(text)[:1]])
    with pytest.raises(VerificationError, match="Nothing was changed"):
        fill(session, many(request_of_files, 1), '"DB"."S"."BUCKET"')


def test_copy_that_found_no_file(request_of_files: LoadRequest) -> None:
    session = recorded_session(lambda text: [{"status": "Copy executed with 0 files processed."}])
    with pytest.raises(VerificationError, match=r"part-00000.parquet: 0 of 1"):
        fill(session, many(request_of_files, 1), '"DB"."S"."BUCKET"')


def test_a_schema_of_any_name_is_put_into(request_of_files: LoadRequest) -> None:
    load = snowflake_load.load_table('"DB"."s""x \'y"', "t'able {0}", WINDOW, 1)
    rows = {file.path: file.rows for file in request_of_files.manifest.files}
    answer = [{"file": n, "status": "LOADED", "rows_loaded": r} for n, r in rows.items()]
    session = recorded_session(lambda text: answer if text.startswith("COPY") else [])
    snowflake_load.fill(session, load, request_of_files, external_stage=None, parallel=7)
    put, copy = sent(session)
    stage = '\'@"DB"."s""x \\\'y".%T_ABLE__0__LOAD_20251115T100000_'
    assert put.startswith("PUT 'file:///")
    assert f"/*' {stage}" in put
    assert put.endswith("_RUN1' PARALLEL = 7 AUTO_COMPRESS = FALSE OVERWRITE = TRUE")
    assert f"FROM {stage}" in copy


def test_load_tables_have_plain_names_of_their_own() -> None:
    other_end = replace(WINDOW, end=WINDOW.end.replace(minute=30))
    other_pipeline = replace(WINDOW, pipeline_name="invoices")
    names = [
        snowflake_load.load_table(SCHEMA_NAME, table, window, epoch).name
        for table, window, epoch in (
            ("orders", WINDOW, 1), ("orders", WINDOW, 2), ("orders", other_end, 1),
            ("orders", other_pipeline, 1), ("Orders", WINDOW, 1), ("o" * 255, WINDOW, 1),
            ("o" * 254, WINDOW, 1), ("größe; --", WINDOW, 1), ("1st", WINDOW, 1),
        )
    ]  # fmt: skip
    assert len(set(names)) == len(names)
    assert all(len(name) <= 255 and name.isascii() and name.isidentifier() for name in names)
    assert names[0].rsplit("_RUN", 1)[0] == names[1].rsplit("_RUN", 1)[0]


def test_drops_older_load_tables_of_the_window_only() -> None:
    prefix = LOAD.name.removesuffix("3")
    shown = [f"{prefix}{epoch}" for epoch in ("1", "2", "3", "10", "2_MINE")] + ["ORDERS"]
    shown.append(prefix.replace("_", "X", 1) + "1")  # LIKE takes _ for any character
    session = recorded_session(lambda text: [{"name": n} for n in shown] if "SHOW" in text else [])
    assert snowflake_load.drop_older(session, SCHEMA_NAME, "orders", WINDOW, 3) == 2
    assert sent(session) == [
        f'SHOW TABLES LIKE \'{prefix}%\' IN SCHEMA "DB"."ANALYTICS"',
        f'DROP TABLE IF EXISTS {SCHEMA_NAME}."{prefix}1"',
        f'DROP TABLE IF EXISTS {SCHEMA_NAME}."{prefix}2"',
    ]


def test_drops_load_tables_of_given_attempts_only() -> None:
    prefix = LOAD.name.removesuffix("3")
    shown = [f"{prefix}{epoch}" for epoch in ("1", "2", "3")] + ["ORDERS_LOAD_OF_MINE"]
    session = recorded_session(lambda text: [{"name": n} for n in shown] if "SHOW" in text else [])
    asked = [snowflake_load.load_table(SCHEMA_NAME, "orders", WINDOW, epoch) for epoch in (1, 3, 4)]
    assert snowflake_load.drop_those(session, SCHEMA_NAME, "orders", asked) == 2
    assert sent(session) == [
        'SHOW TABLES LIKE \'ORDERS_LOAD_%\' IN SCHEMA "DB"."ANALYTICS"',
        f'DROP TABLE IF EXISTS {SCHEMA_NAME}."{prefix}1"',
        f'DROP TABLE IF EXISTS {SCHEMA_NAME}."{prefix}3"',
    ]


# Types


def column(described: str, name: str = "C") -> TargetColumn:
    row = {"name": name, "type": described, "null?": "Y", "default": None}
    return snowflake_types.table_from([row]).columns[0]


def test_json_of_another_form_becomes_null() -> None:
    assert snowflake_types.from_staged('"V"', column("VARIANT")) == 'PARSE_JSON("V")'
    for kind in ("ARRAY", "OBJECT"):
        assert snowflake_types.from_staged('"V"', column(kind)) == (
            f'IFF(IS_{kind}(PARSE_JSON("V")), PARSE_JSON("V")::{kind}, NULL)'
        )
        assert misfit(pa.string(), column(kind)) is None
    assert snowflake_types.from_staged('"V"', column("VARCHAR(10)")) == '"V"'


@pytest.mark.parametrize(
    ("staged", "described", "fits"),
    [
        (pa.timestamp("us"), "TIMESTAMP_NTZ(6)", True),
        (pa.timestamp("us"), "TIMESTAMP_NTZ(3)", False),
        (pa.timestamp("ns", "UTC"), "TIMESTAMP_TZ(6)", False),
        (pa.timestamp("ns", "UTC"), "TIMESTAMP_LTZ(9)", True),
        (pa.timestamp("us", "UTC"), "TIMESTAMP_NTZ(9)", False),
        (pa.time64("us"), "TIME(0)", False),
        (pa.int64(), "NUMBER(38,0)", True),
        (pa.decimal128(10, 4), "NUMBER(38,2)", False),
        (pa.decimal128(38, 0), "NUMBER(38, 0)", True),
        (pa.float64(), "FLOAT", True),
        (pa.string(), "VARCHAR(16777216)", True),
        (pa.string(), "GEOGRAPHY", False),
        (pa.binary(), "BINARY(8388608)", True),
        (pa.date32(), "DATE", True),
    ],
)
def test_what_fits_into_existing_columns(staged: pa.DataType, described: str, fits: bool) -> None:
    assert (misfit(staged, column(described)) is None) is fits


def test_a_column_in_lower_case_is_not_ours() -> None:
    """`id` is the column ID; what somebody named "id" cannot be written by mistake."""
    rows = [{"name": n, "type": "NUMBER(38,0)", "null?": "Y", "default": None} for n in ("id", "X")]
    table = snowflake_types.table_from(rows)
    assert table.find("id") is None
    assert table.column("x").name == "X"


def test_decimals_beyond_38_digits_are_refused() -> None:
    assert snowflake_types.sql_type(pa.decimal128(38, 0)) == "NUMBER(38,0)"
    assert snowflake_types.sql_type(pa.decimal128(5, -3)) == "NUMBER(8,0)"
    for wide in (pa.decimal256(39, 0), pa.decimal256(40, 20), pa.decimal128(38, 38)):
        with pytest.raises(PermanentError, match="38 digits"):
            snowflake_types.sql_type(wide)


def test_sums_of_nanoseconds_are_put_together() -> None:
    assert snowflake_types.total('"T"', pa.timestamp("ns")) == (
        "'0/' || TO_VARCHAR(SUM(DATE_PART(EPOCH_NANOSECOND, \"T\")::NUMBER(38,0))) || '/3'"
    )


# The external stage


@pytest.mark.parametrize(
    ("written", "quoted"),
    [
        ("acme_stage", '"ANALYTICS"."raw DATA"."ACME_STAGE"'),
        ("public.acme_stage", '"ANALYTICS"."PUBLIC"."ACME_STAGE"'),
        ('Db.public."my.st""age"', '"DB"."PUBLIC"."my.st""age"'),
    ],
)
def test_the_external_stage_by_its_full_name(written: str, quoted: str) -> None:
    assert ".".join(target(external_stage=written)._external_stage or ()) == quoted


def test_an_external_stage_of_too_many_parts() -> None:
    with pytest.raises(ConfigurationError, match="external_stage"):
        target(external_stage="a.b.c.d")


def target(**settings: Any) -> Any:
    fields = {
        "account": "acme-test", "user": "LOADER", "password": "env:NOT_SET",
        "database": "analytics", "schema": "raw DATA", "table": "orders", **settings,
    }  # fmt: skip
    system = SnowflakeTarget(type="snowflake", **fields)
    return build_target(system, query_field=QueryField("created_at"), base_dir=Path())


def test_the_name_is_as_snowflake_shows_it() -> None:
    assert target().name == "snowflake://acme-test/ANALYTICS raw DATA.ORDERS"


def test_a_manifest_without_rows_needs_no_load_table(tmp_path: Path) -> None:
    request = Staging(tmp_path).request([], epoch=3)
    session = recorded_session()
    assert fill(session, request).rows == {}
    assert sent(session) == []
    assert isinstance(request.manifest, Manifest)
    assert request.tolerance_percent == Decimal(0)
    assert request.manifest.schema == SCHEMA
