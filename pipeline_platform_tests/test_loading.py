"""Loading the project finds what Dagster's own way finds, and imports no more than it needs."""

import sys

import dagster as dg
import pytest

from pipeline_platform.definitions import defs
from pipeline_platform.loading import load_defs_folder
from pipeline_platform_tests.fresh_clone import ROOT, run

# They switch the flagship example and the drive table in Snowflake on.
SWITCHES = ("FLIGHTS_ELASTICSEARCH_URL", "DRIVE_TABLE")
# They take seconds to import, and no pipeline that is on needs them.
HEAVY = ("dagster_snowflake", "snowflake.connector", "dagster_aws", "boto3", "elasticsearch")


@pytest.fixture(autouse=True)
def _no_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in SWITCHES:
        monkeypatch.delenv(name, raising=False)


def contents(found: dg.Definitions) -> dict[str, list[str]]:
    repository = found.get_repository_def()
    return {
        "assets": sorted(spec.key.to_user_string() for spec in found.resolve_all_asset_specs()),
        "checks": sorted(str(key) for key in repository.asset_graph.asset_check_keys),
        "jobs": sorted(job.name for job in repository.get_all_jobs()),
        "sensors": sorted(sensor.name for sensor in repository.sensor_defs),
        "resources": sorted(found.resources or ()),
    }


def test_it_finds_what_dagster_finds() -> None:
    ours = contents(load_defs_folder(ROOT))
    assert "flights/source" in ours["assets"]
    assert ours == contents(dg.load_from_defs_folder(path_within_project=ROOT))


def test_the_code_location_knows_its_components() -> None:
    assert defs().component_tree is not None


def test_no_package_is_imported_that_no_pipeline_needs() -> None:
    code = (
        "import sys; from pipeline_platform.definitions import defs; "
        "assert defs().get_repository_def().has_job('flights_windows'); "
        f"print([name for name in {HEAVY} if name in sys.modules])"
    )
    done = run([sys.executable, "-c", code], ROOT)
    assert (done.stdout.strip(), done.returncode) == ("[]", 0), done.stderr
