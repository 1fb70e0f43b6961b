"""Secrets stay references until they are used."""

import pytest
from pydantic import TypeAdapter, ValidationError

from pipeline_platform.config.load import parse_config
from pipeline_platform.config.secrets import SecretReference, is_secret_name
from pipeline_platform.config.systems import PostgresSource, PostgresState, StateSystem
from pipeline_platform.errors import ConfigurationError
from pipeline_platform_tests.config.examples import POSTGRES, values

CANARY = "hunter2-Canary"


def test_a_reference_is_resolved_late(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SHOP_DB_PASSWORD", raising=False)
    source = parse_config(values(source_system=POSTGRES)).config.source_system
    assert isinstance(source, PostgresSource)
    assert source.password == SecretReference("env:SHOP_DB_PASSWORD")
    with pytest.raises(ConfigurationError, match="SHOP_DB_PASSWORD is not set"):
        source.password.resolve()
    monkeypatch.setenv("SHOP_DB_PASSWORD", CANARY)
    assert source.password.resolve() == CANARY


def test_the_value_is_nowhere_in_the_config(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_DB_PASSWORD", CANARY)
    config = parse_config(values(source_system=POSTGRES)).config
    shown = f"{config} {config!r} {config.model_dump()} {config.model_dump_json()}"
    assert CANARY not in shown + str(config.hashes())
    assert "env:SHOP_DB_PASSWORD" in shown
    again = parse_config(config.model_dump(mode="json", by_alias=True)).config
    assert again == config


def test_the_drive_store_refuses_a_literal_without_showing_it() -> None:
    adapter: TypeAdapter[StateSystem] = TypeAdapter(StateSystem)
    state = {"type": "postgres", "host": "localhost", "database": "d", "user": "u"}
    assert isinstance(adapter.validate_python(state), PostgresState)
    with pytest.raises(ValidationError) as caught:
        adapter.validate_python({**state, "password": CANARY})
    (error,) = caught.value.errors(include_input=False)
    assert error["loc"] == ("password",)
    assert CANARY not in str(error)


@pytest.mark.parametrize("name", ["password", "DB_PASSWORD", "apiKey", "api-key", "x.secret"])
def test_names_of_secrets(name: str) -> None:
    assert is_secret_name(name)


@pytest.mark.parametrize("name", ["key", "token_field", "passwordless", "monkey", "index"])
def test_other_names(name: str) -> None:
    assert not is_secret_name(name)
