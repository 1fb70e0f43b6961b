"""A run that dies, or fails, at each numbered point: the next run of the window ends right."""

import signal
from contextlib import ExitStack

import duckdb

from pipeline_platform.fault_points import FAULT_POINTS, InjectedFaultError, fault_hook
from pipeline_platform.flow.step import StepFailedError
from pipeline_platform_tests.faults.conftest import RunInProcess, Windows
from pipeline_platform_tests.pipelines import make_pipeline, run_window

# Reached only when a commit's outcome is in doubt, or when a window is deleted.
OFF_THE_USUAL_WAY = {name for name in FAULT_POINTS
                     if name.startswith("delete.") or name.endswith("_resolve")}  # fmt: skip
FEWEST_POINTS = 40


def test_killed_at_each_point(windows: Windows, in_process: RunInProcess) -> None:
    keys: list[str] = []
    reread = 0
    while True:
        key = windows.key(len(keys))
        keys.append(key)
        ended = in_process(key, f"#{len(keys)}:kill")
        if ended == 0:
            break
        assert ended == -signal.SIGKILL, (windows.world.folder / "worker.log").read_text()
        staged, reads = windows.has_manifest(key), windows.reads(key)
        windows.expire_leases()
        again = in_process(key)
        assert again == 0, (windows.world.folder / "worker.log").read_text()
        assert windows.reads(key) == reads + (not staged), f"point {len(keys)}"
        reread += reads > 0 and not staged
        assert windows.reads(key) <= 2
    assert len(keys) > FEWEST_POINTS
    assert reread > 2
    windows.require_right(keys)


def test_raised_at_each_point(windows: Windows) -> None:
    world = windows.world
    pipeline = make_pipeline(windows.config(), world.folder)
    keys: list[str] = []
    seen: set[str] = set()
    with ExitStack() as stack:
        if world.database is None:
            stack.enter_context(duckdb.connect(str(world.folder / "warehouse.duckdb")))
        while True:
            key = windows.key(len(keys))
            keys.append(key)
            hits = 0
            staged = False

            def fail_once(name: str) -> None:
                nonlocal hits, staged
                hits += 1
                seen.add(name)
                if hits == len(keys):
                    staged = windows.has_manifest(keys[-1])
                    raise InjectedFaultError(f"Injected fault at {name}.")

            with fault_hook(fail_once):
                try:
                    row = run_window(pipeline, world.store, key)
                    assert row.pipeline_status == "SUCCESS"
                except (StepFailedError, InjectedFaultError):
                    assert hits >= len(keys)
            if hits < len(keys):
                break
            reads = windows.reads(key)
            windows.expire_leases()
            assert run_window(pipeline, world.store, key).pipeline_status in ("SUCCESS", "SKIPPED")
            assert windows.reads(key) == reads + (not staged), f"point {len(keys)}"
    assert seen >= set(FAULT_POINTS) - OFF_THE_USUAL_WAY
    windows.require_right(keys)
