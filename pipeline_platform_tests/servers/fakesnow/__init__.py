"""A stand-in for Snowflake: fakesnow, in an environment of its own."""

from pipeline_platform_tests.servers.fakesnow.server import Fakesnow, snowflake_server

__all__ = ["Fakesnow", "snowflake_server"]
