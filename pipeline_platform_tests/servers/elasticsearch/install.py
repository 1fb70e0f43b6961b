"""Elasticsearch put together from Maven's jars and two small Java files of ours."""

import shutil
from collections.abc import Iterable
from pathlib import Path

from pipeline_platform_tests.servers.install import installed, run

VERSION = "8.19.21"
FILES = Path(__file__).parent
JAVA_FILES = (FILES / "Main.java", FILES / "RootPlugin.java")
X_PACK_CORE = (
    "x-pack-core", "x-pack-template-resources", "httpclient-4", "httpcore", "httpasyncclient",
    "commons-logging", "commons-codec", "log4j-1.2-api", "log4j-slf4j2-impl", "slf4j-api",
    "unboundid-ldapsdk",
)  # fmt: skip
# Elasticsearch refuses to start if two jars of a module have a class of one name.
SECOND_COPIES = {"jakarta.activation-api-1.2.2.jar", "jcip-annotations-1.0.jar"}
NETTY_PLUGIN = "org.elasticsearch.transport.netty4.Netty4Plugin"


def elasticsearch_home() -> Path:
    """Home of a node without security: lib, modules, and the classes of the launcher."""
    return installed("elasticsearch", _build, VERSION, FILES / "pom.xml", *JAVA_FILES)


def secured_home() -> Path:
    """Home of a node with the modules for TLS and login."""
    poms = (FILES / "pom.xml", FILES / "secured-pom.xml")
    return installed("elasticsearch-secured", _build_secured, VERSION, *poms, *JAVA_FILES)


def _build(home: Path) -> None:
    jars = download(FILES / "pom.xml", home)
    netty = [jar for jar in jars if jar.name.startswith(("netty-", "transport-netty4"))]
    module(home, "transport-netty4", NETTY_PLUGIN, netty)
    finish(home)


def _build_secured(home: Path) -> None:
    plain = elasticsearch_home()
    for part in ("lib", "modules", "launcher", "plugins"):
        shutil.copytree(plain / part, home / part)
    jars = download(FILES / "secured-pom.xml", home, "more")
    there = {jar.name for jar in (home / "lib").glob("*.jar")}
    jars = [jar for jar in jars if jar.name not in there | SECOND_COPIES]
    core = [jar for jar in jars if jar.name.startswith(X_PACK_CORE)]
    module(home, "x-pack-core", "org.elasticsearch.xpack.core.XPackPlugin", core)
    # Netty too: this module brings a transport of its own.
    rest = [jar for jar in jars if jar not in core]
    security = "org.elasticsearch.xpack.security.Security"
    module(home, "x-pack-security", security, rest, extends="x-pack-core")
    shutil.rmtree(home / "more")


def download(pom: Path, home: Path, folder: str = "lib") -> list[Path]:
    """The jars that a pom.xml needs, in a folder; modules take theirs from there."""
    lib = home / folder
    run(
        ["mvn", "--quiet", "--batch-mode", "--file", pom, "dependency:copy-dependencies",
         f"-DoutputDirectory={lib}", f"-Delasticsearch.version={VERSION}"],
        home,
    )  # fmt: skip
    return sorted(lib.glob("*.jar"))


def module(
    home: Path, name: str, classname: str, jars: Iterable[Path], *, extends: str | None = None
) -> Path:
    """A module's folder; the jars move there. Returns it."""
    folder = home / "modules" / name
    folder.mkdir(parents=True)
    for jar in jars:
        jar.rename(folder / jar.name)
    descriptor = {
        "description": name,
        "version": VERSION,
        "name": name,
        "classname": classname,
        "java.version": "17",
        "elasticsearch.version": VERSION,
    }
    if extends:
        descriptor["extended.plugins"] = extends
    lines = (f"{key}={value}\n" for key, value in descriptor.items())
    (folder / "plugin-descriptor.properties").write_text("".join(lines))
    return folder


def finish(home: Path) -> None:
    """Compile our two files: the launcher, and the plugin as a module."""
    launcher, plugin = JAVA_FILES
    compiler = ["javac", "--release", "17", "-Xlint:-options", "-cp", f"{home / 'lib'}/*", "-d"]
    run([*compiler, home / "launcher", launcher], home)
    run([*compiler, home / "plugin", plugin], home)
    folder = module(home, "rest-root", "RootPlugin", [])
    run(["jar", "--create", "--file", folder / "rest-root.jar", "-C", home / "plugin", "."], home)
    (home / "plugins").mkdir()
