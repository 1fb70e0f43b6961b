"""What the package may not do at all, read from its syntax trees (goals R4, S3, S5)."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline_platform.config import connections, elasticsearch, s3, snowflake, systems
from pipeline_platform.config.connections import Section

PACKAGE = Path(__file__).parents[2] / "pipeline_platform"
FILES = sorted(PACKAGE.rglob("*.py"))
TREES = {path.relative_to(PACKAGE).as_posix(): ast.parse(path.read_text()) for path in FILES}

# Every way out of this machine, and the one file that may open it: with time limits.
CLIENTS = {
    "elasticsearch.Elasticsearch": "connections/elasticsearch.py",
    "session.client": "connections/s3.py",
    "driver.connect": "connections/postgres.py",
    "adbc_driver_postgresql.dbapi.connect": "sources/postgres.py",
    "SnowflakeResource": "connections/snowflake.py",
}
# What each of them is given there; `**x` stands for the keys of a dict that the file builds.
LIMITS = {
    "connections/elasticsearch.py": ("request_timeout",),
    "connections/s3.py": ("connect_timeout", "read_timeout"),
    "connections/postgres.py": ("connect_timeout", "statement_timeout", "lock_timeout",
                                "tcp_user_timeout", "keepalives_idle"),
    "connections/snowflake.py": ("login_timeout", "network_timeout", "socket_timeout",
                                 "STATEMENT_TIMEOUT_IN_SECONDS", "LOCK_TIMEOUT"),
}  # fmt: skip
# Clients that have no place in the package at all.
OTHER_CLIENTS = {
    "requests", "httpx", "aiohttp", "http", "socket", "socketserver", "ftplib",
    "smtplib", "telnetlib", "paramiko", "websocket", "websockets", "redis", "pymysql", "sqlalchemy",
}  # fmt: skip
# What makes objects out of bytes, and may run code then.
UNSAFE = {"pickle", "cPickle", "marshal", "shelve", "dill", "joblib", "cloudpickle", "jsonpickle"}


def calls(tree: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def imported(tree: ast.AST) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module)
    return found


@pytest.mark.parametrize("name", TREES)
def test_no_other_way_out_of_the_machine(name: str) -> None:
    tree = TREES[name]
    assert not {module.partition(".")[0] for module in imported(tree)} & OTHER_CLIENTS
    assert "urllib.request" not in imported(tree)
    for called, node in calls(tree):
        if called in CLIENTS:
            assert name == CLIENTS[called], f"{name}:{node.lineno} opens {called}"
        last = called.rpartition(".")[2]
        opens = last in ("urlopen", "create_connection") or called in (
            "psycopg.connect", "snowflake.connector.connect", "boto3.client", "boto3.resource",
        )  # fmt: skip
        assert not opens, f"{name}:{node.lineno} opens {called}"


@pytest.mark.parametrize("called", CLIENTS)
def test_every_client_has_time_limits(called: str) -> None:
    name = CLIENTS[called]
    made = [node for other, node in calls(TREES[name]) if other == called]
    assert len(made) == 1
    if name == "sources/postgres.py":
        # It logs in with the parameters of connections/postgres.py.
        assert any(other == "postgres_conninfo" for other, _ in calls(TREES[name]))
        return
    text = ast.unparse(TREES[name])
    assert [limit for limit in LIMITS[name] if limit not in text] == []


def sections() -> Iterator[type[Section]]:
    for module in (connections, elasticsearch, s3, snowflake, systems):
        for one in vars(module).values():
            if isinstance(one, type) and issubclass(one, Section):
                yield one


def test_no_time_limit_can_be_none_or_endless() -> None:
    """Whatever a config says, each limit is a number above zero; what is left out has one too."""
    seen: set[str] = set()
    for section in sections():
        for name, field in section.model_fields.items():
            if not name.endswith("_timeout_seconds"):
                continue
            seen.add(name)
            assert field.annotation in (int, float), f"{section.__name__}.{name}"
            assert field.default > 0
            lowest = [getattr(mark, "gt", getattr(mark, "ge", None)) for mark in field.metadata]
            assert [mark for mark in lowest if mark is not None], f"{section.__name__}.{name}"
    assert {"connect_timeout_seconds", "statement_timeout_seconds", "read_timeout_seconds"} <= seen


@pytest.mark.parametrize("name", TREES)
def test_waits_for_other_processes_and_threads_end(name: str) -> None:
    for called, node in calls(TREES[name]):
        words = {word.arg for word in node.keywords}
        if called in ("subprocess.run", "subprocess.check_output", "subprocess.check_call"):
            assert "timeout" in words, f"{name}:{node.lineno}"


@pytest.mark.parametrize("name", TREES)
def test_nothing_is_unpickled_or_run_from_a_text(name: str) -> None:
    tree = TREES[name]
    assert not {module.partition(".")[0] for module in imported(tree)} & UNSAFE
    for called, node in calls(tree):
        at = f"{name}:{node.lineno}"
        assert called not in ("eval", "exec", "compile", "os.system", "os.popen"), at
        assert called not in ("yaml.load", "yaml.unsafe_load", "yaml.full_load"), at
        assert called not in ("tempfile.mktemp", "os.chmod", "os.umask"), at
        given = {word.arg: ast.unparse(word.value) for word in node.keywords}
        assert given.get("shell", "False") == "False", at
        assert "ssl_show_warn" not in given, at
        for flag in ("verify", "verify_certs", "ssl_verify"):
            assert given.get(flag) != "False", at


@pytest.mark.parametrize("name", TREES)
def test_no_traceback_shows_local_variables(name: str) -> None:
    for _, node in calls(TREES[name]):
        shown = {word.arg for word in node.keywords} & {
            "show_locals", "capture_locals", "tracebacks_show_locals",
            "pretty_exceptions_show_locals",
        }  # fmt: skip
        assert not shown, f"{name}:{node.lineno}"


@pytest.mark.parametrize(
    ("check", "source"),
    [
        (test_no_other_way_out_of_the_machine, "import requests"),
        (test_no_other_way_out_of_the_machine, "psycopg.connect('')"),
        (test_no_other_way_out_of_the_machine, "elasticsearch.Elasticsearch()"),
        (test_waits_for_other_processes_and_threads_end, "subprocess.run(['x'])"),
        (test_nothing_is_unpickled_or_run_from_a_text, "from pickle import loads"),
        (test_nothing_is_unpickled_or_run_from_a_text, "get(url, verify=False)"),
        (test_no_traceback_shows_local_variables, "install(show_locals=True)"),
    ],
)
def test_what_is_planted_is_found(
    check: object, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(TREES, "planted.py", ast.parse(source))
    assert callable(check)
    with pytest.raises(AssertionError):
        check("planted.py")
