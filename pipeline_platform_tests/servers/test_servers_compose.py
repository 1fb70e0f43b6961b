"""compose.yaml has the versions that the tests run as processes, and listens on loopback only."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline_platform_tests.servers import toxiproxy, versitygw
from pipeline_platform_tests.servers.compose import COMPOSE_FILE
from pipeline_platform_tests.servers.elasticsearch import install

TEXT = COMPOSE_FILE.read_text()
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load(TEXT)["services"]


def test_versions_are_those_of_the_processes() -> None:
    versions = dict(service["image"].rsplit(":", 1) for service in SERVICES.values())
    assert versions == {
        "docker.elastic.co/elasticsearch/elasticsearch": install.VERSION,
        "versity/versitygw": versitygw.VERSION,
        "ghcr.io/shopify/toxiproxy": toxiproxy.VERSION.removeprefix("v"),
    }
    poms = install.FILES.glob("*pom.xml")
    of_maven = [re.findall(r"<elasticsearch\.version>(.*?)<", pom.read_text()) for pom in poms]
    assert of_maven == [[install.VERSION]] * 2


@pytest.mark.parametrize("name", SERVICES)
def test_ports_are_on_loopback(name: str) -> None:
    service = SERVICES[name]
    ports = service.get("ports", [])
    assert all(port.startswith("127.0.0.1:${") for port in ports)
    assert ports or "-host=127.0.0.1" in service["command"]


def test_variables_have_defaults_and_are_set_by_the_servers() -> None:
    asked = set(re.findall(r"\$\{(\w+):-", TEXT))
    assert len(re.findall(r"\$\{", TEXT)) == len(re.findall(r"\$\{\w+:-", TEXT))
    folder = Path(versitygw.__file__).parent
    code = "".join(path.read_text() for path in folder.rglob("*.py") if "test" not in path.name)
    assert {name for name in asked if f'"{name}"' not in code} == set()
