"""The search finds what it is meant to find; without that, finding nothing would mean nothing."""

import base64
import json
import sqlite3
import urllib.parse
import zlib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline_platform_tests.flagship.canary import Canaries, chain_of, files_below

SECRET = 'Kanari 9/+="&@:ü7f3a1c'
CANARIES = Canaries({"password": SECRET})


@pytest.mark.parametrize("before", ["", "u", "user", "admin"])
def test_every_form_is_found(before: str) -> None:
    login = f"{before}:{SECRET}:end".encode()
    for text in (
        f"password={SECRET}!",
        json.dumps({"password": SECRET}),
        f"https://host/?p={urllib.parse.quote(SECRET)}",
        f"https://host/{urllib.parse.quote(SECRET, safe='')}/",
        urllib.parse.urlencode({"p": SECRET}),
        base64.b64encode(login),
        base64.urlsafe_b64encode(login),
        login.hex(),
    ):
        assert CANARIES.leaks(text), text
    assert not CANARIES.leaks("password=***, env:PASSWORD")


def test_files_are_unpacked(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "runs.db") as database:
        database.execute("CREATE TABLE snapshots (body BLOB)")
        packed = zlib.compress(SECRET.encode())
        database.execute("INSERT INTO snapshots VALUES (?)", [packed])
    database.close()
    pq.write_table(pa.table({"note": [SECRET] * 99}), tmp_path / "a.parquet", compression="zstd")
    (tmp_path / "log").write_text("nothing")
    assert set(CANARIES.leaks_in(files_below(tmp_path))) == {"runs.db", "a.parquet"}


def test_causes_are_followed() -> None:
    error = RuntimeError("told to nobody")
    assert not CANARIES.leaks(chain_of(error))
    error.__cause__ = ValueError(SECRET)
    assert CANARIES.leaks(chain_of(error))
