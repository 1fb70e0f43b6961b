"""Servers written in Go, built by `go install` from their public modules."""

from pathlib import Path

from pipeline_platform_tests.servers.install import installed, run


def go_program(name: str, package: str, version: str) -> Path:
    """The program; `package` is the import path of its main package."""
    binary = package.rsplit("/", 1)[-1]

    def build(folder: Path) -> None:
        run(["go", "install", f"{package}@{version}"], folder, {"GOBIN": str(folder)})

    return installed(name, build, package, version) / binary
