"""`python -m pipeline_platform_tests.servers` installs the servers of the tests ahead of them.

The tests do so themselves; after it they begin at once. With CI=true the exit code is 1 if
something cannot be had.
"""

from collections.abc import Callable
from pathlib import Path

from pipeline_platform_tests.servers import chromium, toxiproxy, versitygw
from pipeline_platform_tests.servers.availability import MissingServerError, Needs, is_ci
from pipeline_platform_tests.servers.elasticsearch import install, node
from pipeline_platform_tests.servers.fakesnow import server as fakesnow

INSTALLS: tuple[tuple[Needs, Callable[[], Path]], ...] = (
    (node.NEEDS, install.elasticsearch_home),
    (node.NEEDS, install.secured_home),
    (versitygw.NEEDS, versitygw.versitygw),
    (fakesnow.NEEDS, fakesnow.fakesnow_environment),
    (toxiproxy.NEEDS, toxiproxy.toxiproxy_program),
    (chromium.NEEDS, chromium.chromium_path),
)


def main() -> int:
    missing = 0
    for needs, get in INSTALLS:
        try:
            print(f"{needs.server}: {needs.install_or_docker(get) or 'Docker'}", flush=True)
        except MissingServerError as reason:
            missing += 1
            print(reason, flush=True)
    return 1 if missing and is_ci() else 0


if __name__ == "__main__":
    raise SystemExit(main())
