"""A node of Elasticsearch that speaks https only and asks for a login."""

import base64
import hashlib
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline_platform_tests.servers.certificate import Certificate, certificate_for_loopback
from pipeline_platform_tests.servers.elasticsearch.install import secured_home
from pipeline_platform_tests.servers.elasticsearch.node import ElasticsearchNode

PASSWORD = "PIPELINE_PLATFORM_ELASTICSEARCH_PASSWORD"
ROUNDS = 10_000


class SecuredElasticsearch(ElasticsearchNode):
    """Start with `with SecuredElasticsearch() as server`; `user` may do everything."""

    user = "admin"
    service = "elasticsearch-secured"
    certificate: Certificate
    _install = staticmethod(secured_home)
    _modules = (
        "--add-exports",
        "org.elasticsearch.server/org.elasticsearch.plugins.interceptor=ALL-UNNAMED",
    )

    def __init__(self, *, heap_megabytes: int = 256) -> None:
        super().__init__(name="secured", heap_megabytes=heap_megabytes)
        self.url = f"https://127.0.0.1:{self.port}"
        self.password = secrets.token_urlsafe(16)

    @property
    def ca_file(self) -> Path:
        return self.certificate.ca_file

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the authority's certificate, in hexadecimal."""
        return self.certificate.fingerprint

    def config(self) -> dict[str, Any]:
        return {
            "hosts": [self.url],
            "ca_certs": str(self.ca_file),
            "user": self.user,
            "password": f"env:{PASSWORD}",
        }

    @property
    def environment(self) -> dict[str, str]:
        return {PASSWORD: self.password}

    def create_api_key(
        self, role_descriptors: Mapping[str, Any] | None = None, expiration: str | None = None
    ) -> str:
        """A new API key, encoded; without `role_descriptors` it may do everything."""
        made = self.client().security.create_api_key(
            name=self.new_name(), role_descriptors=role_descriptors, expiration=expiration
        )
        return str(made["encoded"])

    def create_reader(self, *indices: str) -> str:
        """A new API key that may read these indices and nothing else."""
        rights = {"names": list(indices), "privileges": ["read", "view_index_metadata"]}
        return self.create_api_key({"reader": {"indices": [rights]}})

    def create_token(self) -> str:
        """A new bearer token of `user`, good for 20 minutes."""
        made = self.client().security.get_token(
            grant_type="password", username=self.user, password=self.password
        )
        return str(made["access_token"])

    def _login(self) -> dict[str, Any]:
        return {"basic_auth": (self.user, self.password), "ca_certs": str(self.ca_file)}

    def _container_variables(self, folder: Path) -> dict[str, str]:
        self.user = "elastic"  # the one that an image has from its start
        self.certificate = certificate_for_loopback(folder)
        folder.chmod(0o755)  # the container's user is another one
        self.certificate.key.chmod(0o644)
        return {"ELASTICSEARCH_PASSWORD": self.password, "CERTIFICATES": str(folder)}

    def _configure(self, config: Path) -> dict[str, str]:
        self.certificate = certificate_for_loopback(config)
        (config / "users").write_text(f"{self.user}:{_hashed(self.password)}\n")
        (config / "users_roles").write_text(f"superuser:{self.user}\n")
        (config / "roles.yml").touch()
        return {
            "xpack.security.enabled": "true",
            # The basic license has no bearer tokens.
            "xpack.license.self_generated.type": "trial",
            "xpack.security.http.ssl.enabled": "true",
            "xpack.security.http.ssl.certificate": self.certificate.certificate.name,
            "xpack.security.http.ssl.key": self.certificate.key.name,
        }


def _hashed(password: str) -> str:
    """A password as the file `users` has it, in one of the ways that Elasticsearch knows."""
    salt = secrets.token_bytes(32)
    digest = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, ROUNDS, 32)
    encoded = (base64.b64encode(part).decode() for part in (salt, digest))
    return f"{{PBKDF2}}{ROUNDS}${'$'.join(encoded)}"
