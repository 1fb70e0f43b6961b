"""What every pair of target and drive store must stand; a test class gives the fixture `place`."""

import pytest

from pipeline_platform_tests.statemachine.place import Place
from pipeline_platform_tests.statemachine.run import VARIABLE, long_run, run_machine

# Without these a run of the machine would prove nothing.
MUST_HAPPEN = (
    "taken over", "held", "staged", "loaded", "loaded what another run staged",
    "zombie refused: load", "zombie refused: audit", "zombie refused: delete",
    "zombie refused: save", "zombie refused: heartbeat", "killed in load", "killed in stage",
    "drive table lost", "failed without the claim", "closed as dead",
    "lost the claim inside a transaction",
    "whole run: skip", "whole run: continue", "whole run: start_over",
)  # fmt: skip


class WindowMachineContract:
    """Claims, fences and commits under workers that pause, die and wake up again."""

    usual_steps = 400

    @pytest.mark.timeout(1800)
    def test_nothing_is_lost_or_doubled(self, place: Place) -> None:
        wanted = long_run()
        steps = self.usual_steps if wanted is None else wanted
        tally = run_machine(place, steps, derandomize=wanted is None)
        print(f"\n{type(self).__name__}: {tally['steps']} steps; more with {VARIABLE}=10000")
        for event, times in sorted(tally.items()):
            print(f"  {times:6} {event}")
        assert tally["steps"] >= steps / 2
        assert [event for event in MUST_HAPPEN if not tally[event]] == []
        assert any(event.startswith("unknown outcome at load.") for event in tally)
        assert any(event.startswith("paused at") for event in tally)
