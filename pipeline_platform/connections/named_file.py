"""Files that a connection names, e.g. a certificate authority or a key."""

from pathlib import Path

from pipeline_platform.errors import ConfigurationError


def named_file(base_dir: Path, name: str, setting: str) -> str:
    """The absolute path; relative names count from `base_dir`.

    ConfigurationError names the setting if there is no such file.
    """
    path = (base_dir / name).resolve()
    if not path.is_file():
        raise ConfigurationError(f"The file {path} does not exist.", hint=f"Check {setting}.")
    return str(path)
