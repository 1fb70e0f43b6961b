"""Moves the day in a process of its own: `python -m pipeline_platform_tests.flagship.worker`.

Reads config, state, folder and key as one JSON object; exits with 1 if the run failed.
"""

import json
import sys
from pathlib import Path

from pipeline_platform_tests.flagship.stack import materialize

if __name__ == "__main__":
    order = json.load(sys.stdin)
    done = materialize(order["config"], order["state"], Path(order["folder"]), order["key"])
    sys.exit(not done.success)
