import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_platform.errors import ConfigurationError
from pipeline_platform.naming import column_names, safe_column_name


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("id", "id"),
        ("OrderID (net)", "order_id_net"),
        ("orderId", "order_id"),
        ("HTTPServerName", "http_server_name"),
        ("a.b-c d", "a_b_c_d"),
        ("2nd", "_2nd"),
        ("_hidden", "_hidden"),
        ("__twice__", "_twice"),
        ("  padded  ", "padded"),
        ("größe", "gr_e"),
        ('quo"te;--', "quo_te"),
    ],
)
def test_safe_names(name: str, safe: str) -> None:
    assert safe_column_name(name) == safe


@pytest.mark.parametrize("name", ["", "_", "日本", "--", "\x00"])
def test_names_without_a_letter_or_digit_are_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match="no letter or digit"):
        safe_column_name(name)


@given(st.text(max_size=40))
def test_every_name_becomes_safe_once_and_for_all_or_is_refused(name: str) -> None:
    try:
        safe = safe_column_name(name)
    except ConfigurationError:
        assert not re.search("[A-Za-z0-9]", name)
        return
    assert re.fullmatch("[a-z_][a-z0-9_]*", safe)
    assert safe_column_name(safe) == safe


def test_order_and_originals_are_kept() -> None:
    assert column_names(["B", "aB", "a"]) == {"B": "b", "aB": "a_b", "a": "a"}
    assert column_names(["B", "aB"], safe=False) == {"B": "B", "aB": "aB"}


@pytest.mark.parametrize(
    ("names", "safe"), [(["a b", "a_b"], True), (["A", "a"], True), (["A", "a"], False)]
)
def test_names_that_fall_together_are_refused(names: list[str], safe: bool) -> None:
    with pytest.raises(ConfigurationError, match="both become"):
        column_names(names, safe=safe)


@pytest.mark.parametrize("name", ["_pipeline_name", "_Pipeline Name", "_PIPELINE_WINDOW_START"])
def test_names_of_the_platform_are_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match="platform writes itself"):
        column_names(["id", name])


def test_reserved_names_are_refused_unchanged_too() -> None:
    with pytest.raises(ConfigurationError):
        column_names(["_PIPELINE_NAME"], safe=False)
