"""Where temporary files of the tests are: in memory, where this machine has enough of it.

What a small window or a fresh database takes is mostly the disk's time, and a file system's that
makes and removes thousands of files.
"""

import os
import shutil
import tempfile
from multiprocessing.util import Finalize
from pathlib import Path

MEMORY = Path("/dev/shm")
_NAME = "pipeline-platform-tests"
VARIABLE = "TMPDIR"
FEWEST_BYTES = 4 << 30
_LAST = -1000


def temporary_files_in_memory() -> None:
    """For this process and those that it starts; what is left goes at its end.

    A folder that somebody chose, with TMPDIR, is used as it is.
    """
    if VARIABLE in os.environ or not _is_big_enough():
        return
    _remove_those_of_the_dead()
    folder = Path(tempfile.mkdtemp(prefix=f"{_NAME}-{os.getpid()}-", dir=MEMORY))
    folder.chmod(0o755)  # servers run as other users
    os.environ[VARIABLE] = str(folder)
    tempfile.tempdir = None
    # In the process that made it only, and after multiprocessing removed its own folder in it.
    Finalize(None, shutil.rmtree, (folder,), {"ignore_errors": True}, exitpriority=_LAST)


def _is_big_enough() -> bool:
    """Servers are copied there, so programs must be allowed to run."""
    if not os.access(MEMORY, os.W_OK) or os.statvfs(MEMORY).f_flag & os.ST_NOEXEC:
        return False
    return shutil.disk_usage(MEMORY).free >= FEWEST_BYTES


def _remove_those_of_the_dead() -> None:
    """What processes left that were killed."""
    for folder in MEMORY.glob(f"{_NAME}-*-*"):
        process = folder.name.removeprefix(f"{_NAME}-").partition("-")[0]
        if process.isdigit() and not Path("/proc", process).exists():
            shutil.rmtree(folder, ignore_errors=True)
