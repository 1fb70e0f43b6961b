"""One node of Elasticsearch on loopback."""

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from elasticsearch import ApiError, TransportError
from typing_extensions import Self

from pipeline_platform_tests.servers.availability import Needs
from pipeline_platform_tests.servers.elasticsearch.install import FILES, elasticsearch_home
from pipeline_platform_tests.servers.elasticsearch.own import URL
from pipeline_platform_tests.servers.elasticsearch.server import ElasticsearchServer
from pipeline_platform_tests.servers.process import ServerProcess, free_port

START_SECONDS = 120.0
NEEDS = Needs(
    "Elasticsearch",
    f"install a JDK (17 or newer) and Maven, or Docker, or set {URL}",
    programs=("java",),
    in_docker=True,
)
SINGLE_NODE = {"discovery.type": "single-node"}


class ElasticsearchNode(ElasticsearchServer):
    """Start with `with ElasticsearchNode() as server`.

    `heap_megabytes`: memory for Java; 256 are enough for a hundred thousand small documents.
    `quick_start` halves the time of the start by leaving Java's second compiler out, which a
    server that is measured needs.
    """

    # As a container: its service in compose.yaml, and the network of those that belong together.
    service = "elasticsearch"
    port_variable = "ELASTICSEARCH_PORT"
    project = ""
    _install: Callable[[], Path] = staticmethod(elasticsearch_home)
    _modules: tuple[str, ...] = ()

    def __init__(
        self,
        *,
        name: str = "node-1",
        heap_megabytes: int = 256,
        quick_start: bool = True,
        settings: Mapping[str, str] | None = None,
        health: Mapping[str, str] | None = None,
    ) -> None:
        """`health`: what the cluster's health must say, before the node counts as started."""
        super().__init__()
        self.name = name
        self.port = free_port()
        self.transport_port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._heap = heap_megabytes
        self._quick_start = quick_start
        self.settings = dict(settings or SINGLE_NODE)
        self._health: dict[str, Any] = {"wait_for_status": "yellow", **(health or {})}
        self._process: ServerProcess | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        super().__exit__()
        if self._process is not None:
            self._process.remove()
            self._process = None

    def start(self) -> None:
        """Start the node and wait until its indices answer; after `kill` on its old data."""
        if self._process is None:
            self._process = self._new_process()
        self._process.start(self._is_ready, START_SECONDS)

    def stop(self) -> None:
        """SIGTERM; its data stay for another `start`."""
        assert self._process is not None
        self._process.stop()

    def kill(self) -> None:
        """SIGKILL; its data stay for another `start`."""
        assert self._process is not None
        self._process.kill()

    def log(self) -> str:
        """The end of the node's log."""
        return self._process.log() if self._process is not None else ""

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.is_running

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def _new_process(self) -> ServerProcess:
        home = NEEDS.install_or_docker(self._install)
        folder = Path(tempfile.mkdtemp(prefix="pipeline-platform-elasticsearch-"))
        if home is None:
            return self._new_container(folder)
        config = folder / "config"
        config.mkdir()
        settings = {
            "path.home": home,
            "path.data": folder / "data",
            "path.logs": folder / "logs",
            "node.name": self.name,
            "cluster.name": "pipeline-platform-tests",
            "network.host": "127.0.0.1",
            "http.port": self.port,
            "transport.port": self.transport_port,
            # A full disk would leave shards without a node.
            "cluster.routing.allocation.disk.threshold_enabled": "false",
            # A point in time that has expired goes at once, not within a minute.
            "search.keep_alive_interval": "1s",
            **self.settings,
            **self._configure(config),
        }
        java: list[str | Path] = [
            "java", *self._java_options(self._heap), f"-Djava.io.tmpdir={folder}",
            f"-Dlog4j2.configurationFile={FILES}/log4j2.properties",
            "--module-path", home / "lib", "--add-modules", "ALL-MODULE-PATH", *self._modules,
            "-cp", home / "launcher", "Main", config,
        ]  # fmt: skip
        arguments = [f"{key}={value}" for key, value in settings.items()]
        return ServerProcess(f"elasticsearch {self.name}", [*java, *arguments], folder)

    def _new_container(self, folder: Path) -> ServerProcess:
        # The image has all modules of the distribution, which take more memory.
        variables = {
            self.port_variable: str(self.port),
            "ELASTICSEARCH_JAVA_OPTIONS": " ".join(self._java_options(max(self._heap, 512))),
            **self._container_variables(folder),
        }
        return NEEDS.container(self.service, folder, variables, self.project)

    def _container_variables(self, folder: Path) -> dict[str, str]:
        """More variables of compose.yaml for this node's container."""
        return {}

    def _java_options(self, megabytes: int) -> list[str]:
        options = [f"-Xms{megabytes}m", f"-Xmx{megabytes}m", "-XX:+UseSerialGC"]
        return [*options, "-XX:TieredStopAtLevel=1"] if self._quick_start else options

    def _configure(self, config: Path) -> dict[str, str]:
        """Write files into the node's config folder; the settings that name them."""
        return {}

    def _is_ready(self) -> bool:
        client = self.client().options(max_retries=0)
        try:
            return not client.cluster.health(**self._health, timeout="1s")["timed_out"]
        except (ApiError, TransportError):
            return False
