"""A key for the Snowflake test server, which does not check it."""

from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa


def write_private_key(folder: Path) -> Path:
    """A new RSA key as a PEM file in `folder`, readable by its owner only."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    path = folder / "snowflake.p8"
    path.touch(mode=0o600)
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return path
