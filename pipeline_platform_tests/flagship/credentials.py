"""Credentials that hold a canary each."""

import secrets
from dataclasses import dataclass, field

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
)

from pipeline_platform_tests.flagship.canary import Canaries


@dataclass
class Credentials:
    """Secrets in variables of this process, as a config refers to them."""

    patch: pytest.MonkeyPatch
    secrets: dict[str, str] = field(default_factory=dict)

    def env(self, what: str, value: str | None = None) -> str:
        """Put a secret, by default one that no server knows, into a variable: its reference."""
        value = value or f"Kanari/{what}+={secrets.token_hex(6)}&"
        name = f"CANARY_{len(self.secrets)}"
        self.patch.setenv(name, value)
        self.secrets[what] = value.strip()
        return f"env:{name}"

    def key_text(self) -> str:
        """A private key in a variable that is none."""
        nonsense = f"Kanari+{secrets.token_hex(12)}"
        pem = f"-----BEGIN PRIVATE KEY-----\n{nonsense}\n-----END PRIVATE KEY-----\n"
        reference = self.env("key-text", pem)
        self.secrets["key-text"] = nonsense
        return reference

    def encrypted_key(self, passphrase: str) -> str:
        """The text of a real private key."""
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        encryption = BestAvailableEncryption(passphrase.encode())
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption).decode()
        reference = self.env("private-key", pem)
        self.secrets["private-key"] = pem.splitlines()[7]
        return reference

    def key_pair(self) -> dict[str, str]:
        """Key and passphrase of a login that works, as a config has them."""
        passphrase = self.env("passphrase")
        key = self.encrypted_key(self.secrets["passphrase"])
        return {"private_key": key, "private_key_passphrase": passphrase}

    def canaries(self) -> Canaries:
        return Canaries(self.secrets)
