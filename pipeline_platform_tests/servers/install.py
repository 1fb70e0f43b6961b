"""Servers are installed once per machine, into a cache outside of the work tree."""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

CACHE = "PIPELINE_PLATFORM_CACHE"
INSTALL_SECONDS = 900.0


class InstallFailedError(Exception):
    """A server could not be installed; says which command failed and how."""


def cache_folder() -> Path:
    """Where installs are kept: $PIPELINE_PLATFORM_CACHE, or the user's cache folder."""
    if chosen := os.environ.get(CACHE):
        return Path(chosen).expanduser().absolute()
    users = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(users).expanduser().absolute() / "pipeline_platform" / "servers"


def installed(name: str, build: Callable[[Path], None], *made_of: str | Path) -> Path:
    """Folder of an install, built by `build(folder)` if it is not there yet.

    Another version in `made_of`, or another text of a file there, is another install. Of several
    processes one builds and the others wait. The folder gets its name when it is whole: a build
    that was cut off is begun anew.
    """
    digest = hashlib.sha256()
    for part in made_of:
        digest.update(part.read_bytes() if isinstance(part, Path) else part.encode())
        digest.update(b"\0")
    cache = cache_folder()
    folder = cache / f"{name}-{digest.hexdigest()[:12]}"
    if folder.is_dir():
        return folder
    cache.mkdir(parents=True, exist_ok=True)
    with _locked(cache / f"{name}.lock"):
        if folder.is_dir():
            return folder
        for cut_off in cache.glob(f".{name}-*"):
            shutil.rmtree(cut_off, ignore_errors=True)
        fresh = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=cache))
        try:
            build(fresh)
            fresh.chmod(0o755)
            fresh.rename(folder)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
    return folder


def run(
    command: Sequence[str | Path], folder: Path, environment: Mapping[str, str] | None = None
) -> str:
    """Output of an install's command; InstallFailedError if it fails or takes 15 minutes."""
    words = [str(word) for word in command]
    if shutil.which(words[0]) is None:
        raise InstallFailedError(f"{words[0]} not found")
    try:
        done = subprocess.run(
            words, cwd=folder, env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
            timeout=INSTALL_SECONDS,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as failure:
        raise InstallFailedError(f"{' '.join(words)}: {failure}") from failure
    if done.returncode:
        output = (done.stdout + done.stderr).strip()
        raise InstallFailedError(f"{' '.join(words)} failed:\n{output[-2000:]}")
    return done.stdout


def install_python(folder: Path, requirements: Path, base: str = sys.executable) -> None:
    """A Python environment in `folder` with exactly the hashed requirements."""
    python = folder / "bin" / "python"
    uv = Path(sys.executable).with_name("uv")
    if uv.exists():
        run([uv, "venv", "--quiet", "--python", base, "--allow-existing", folder], folder)
        run(
            [uv, "pip", "sync", "--quiet", "--require-hashes", "--python", python, requirements],
            folder,
        )
        return
    run([base, "-m", "venv", folder], folder)
    run([python, "-m", "pip", "install", "--require-hashes", "--requirement", requirements], folder)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    deadline = time.monotonic() + INSTALL_SECONDS
    with path.open("w") as held:
        while True:
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise InstallFailedError(
                        f"another process has held {path} for {INSTALL_SECONDS:.0f} s"
                    ) from None
                time.sleep(0.1)
        yield
