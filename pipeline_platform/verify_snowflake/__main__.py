"""`python -m pipeline_platform.verify_snowflake [--config FILE]`: see docs/snowflake.md."""

import argparse
import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from pipeline_platform.errors import ConfigurationError, PipelineError
from pipeline_platform.report import console
from pipeline_platform.verify_snowflake import copies, locks, state, windows
from pipeline_platform.verify_snowflake.points import run_points
from pipeline_platform.verify_snowflake.scratch import Scratch

POINTS = (*locks.POINTS, *state.POINTS, *windows.POINTS, *copies.POINTS)

_PREFIX = "SNOWFLAKE_"
PLAIN = (
    "account", "user", "private_key_path", "role", "warehouse", "database", "host", "port",
    "protocol",
)  # fmt: skip
SECRET = ("private_key", "private_key_passphrase", "password")


def main(arguments: list[str] | None = None) -> int:
    """0 if no point failed, 1 if one did, 2 if the account could not be reached."""
    parser = argparse.ArgumentParser(
        prog="python -m pipeline_platform.verify_snowflake",
        description="Check against a Snowflake account what the platform relies on, in a schema "
        "that is created for it and dropped at the end.",
    )
    parser.add_argument(
        "--config",
        type=Path,
        help="YAML file with the connection: the fields of a Snowflake drive table. Without it: "
        f"{', '.join(_PREFIX + name.upper() for name in (*PLAIN, *SECRET))}.",
    )
    parser.add_argument(
        "--external-stage",
        default=os.environ.get("SNOWFLAKE_EXTERNAL_STAGE"),
        help="[database.][schema.]name of an external stage to check too; default: "
        "SNOWFLAKE_EXTERNAL_STAGE.",
    )
    given = parser.parse_args(arguments)
    try:
        connection = _from_file(given.config) if given.config else from_environment(os.environ)
        base_dir = given.config.parent.absolute() if given.config else Path.cwd()
        scratch = Scratch(connection, base_dir, given.external_stage)
        return _verify(scratch)
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
        _complain(f"The connection is not right. {'; '.join(problems)}")
    except (PipelineError, OSError) as error:
        _complain(str(error))
    return 2


def _complain(text: str) -> None:
    console(stderr=True).print(text, markup=False)


def from_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    """The connection's fields from SNOWFLAKE_ACCOUNT and so on; secrets stay references."""
    found: dict[str, Any] = {}
    for name in (*PLAIN, *SECRET):
        variable = f"{_PREFIX}{name.upper()}"
        if environment.get(variable):
            found[name] = f"env:{variable}" if name in SECRET else environment[variable]
    if "account" not in found:
        raise ConfigurationError(
            "SNOWFLAKE_ACCOUNT is not set.",
            hint="docs/snowflake.md says which variables name the account; or give --config.",
        )
    return found


def _from_file(path: Path) -> dict[str, Any]:
    values = yaml.safe_load(path.read_text(encoding="utf-8"))
    if not isinstance(values, dict):
        raise ConfigurationError(f"{path} is not a list of settings with their values.")
    return {name: value for name, value in values.items() if name not in ("type", "schema")}


def _verify(scratch: Scratch) -> int:
    out = console()
    verdicts: Counter[str] = Counter()
    with scratch.open():
        out.print(f"Snowflake {scratch.account}, schema {scratch.schema.upper()}", markup=False)
        for outcome in run_points(scratch, POINTS):
            verdicts[outcome.verdict] += 1
            told = f"{outcome.verdict:20}{outcome.point.name} ({outcome.seconds:.1f} s)"
            out.print(f"{told}\n{'':20}{outcome.detail}", markup=False)
    counted = ", ".join(f"{number} {verdict}" for verdict, number in verdicts.items())
    out.print(f"{len(POINTS)} points: {counted}. The schema is dropped.", markup=False)
    return 1 if verdicts["failed"] else 0


if __name__ == "__main__":
    raise SystemExit(main())
