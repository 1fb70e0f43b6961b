"""Finds SQL that is put together from anything but quoted names, bound marks and constants.

Every text of the package that reads like a statement, or a part of one, and has holes is looked
at: f-strings, `+`, `%`, `join`, `format`. What goes into a hole must be, as far as the syntax
tree shows: a constant (in capitals, or a literal), a number, what a quoting function returned, a
part that is put together the same way, what a function of the same file makes of such parts, or
something that is trusted by name, in the whole file or in one function of it: `types`,
`_count:table`, `self._field()`.
"""

import ast
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

_STATEMENT = re.compile(
    r"^\s*(SELECT\b|SET \w+ =|(INSERT|UPDATE|DELETE|CREATE|DROP|ALTER|COPY|PUT|GET|REMOVE|LIST"
    r"|MERGE|GRANT|REVOKE|SHOW|USE|DESCRIBE|TRUNCATE|ATTACH|CALL|LOCK|WITH|EXECUTE|PREPARE)\s+(?![a-z]))"
    r"|\b(FROM|WHERE|JOIN|INTO|VALUES|ORDER BY|GROUP BY|UNION ALL)\b"
    r"|\b(AND|OR)\s+[\w\".\0{}]+\s*(=|<|>|!|IN\b|IS\b|LIKE\b|BETWEEN\b)"
)
_HOLE = "\0"
_CAPITALS = re.compile(r"_{0,2}[A-Z][A-Z0-9_]*")
# Methods that fill a template: `self._sql(TEMPLATE, name=...)`.
_TEMPLATES = ("_sql",)
_NUMBERS = ("int", "len", "round", "min", "max")
_ORDERED = ("sorted", "list", "tuple", "map", "enumerate", "range", "zip")

# All that turn a name, a type or a text into SQL.
QUOTING = (
    "quote_duckdb", "quote_postgres", "quote_snowflake", "quote", "_quote", "identifier",
    "_literal", "_reference", "_exactly", "sql_type", "_sql_type", "Literal", "Identifier",
)  # fmt: skip


@dataclass(frozen=True)
class Finding:
    """A hole with something in it that nobody vouches for."""

    line: int
    hole: str
    text: str


@dataclass
class Scope:
    """The names of one function, or of the file: what was ever assigned to each."""

    name: str = ""
    assigned: dict[str, list[ast.expr]] = field(default_factory=dict)
    parameters: set[str] = field(default_factory=set)


class BuiltSql:
    """The findings of one file; `used` are the names of `trusted` that were needed."""

    def __init__(self, source: str, trusted: Sequence[str] = ()) -> None:
        self._trusted = set(trusted)
        self.used: set[str] = set()
        tree = ast.parse(source)
        self._constants = _constants(tree)
        self._functions = {
            one.name: one for one in ast.walk(tree) if isinstance(one, ast.FunctionDef)
        }
        self.findings = sorted(set(self._of(tree, [_scope(tree)])), key=lambda found: found.line)

    def _of(self, node: ast.AST, scopes: list[Scope]) -> Iterator[Finding]:
        for child in ast.iter_child_nodes(node):
            inner = scopes
            if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
                inner = [*scopes, _scope(child)]
            if isinstance(child, ast.expr) and self._is_sql(child):
                yield from self._holes(child, scopes)
                continue
            yield from self._of(child, inner)

    def _is_sql(self, node: ast.expr) -> bool:
        return (
            _is_template(node)
            or _is_composable(node)
            or _STATEMENT.search(_text(node, self._constants)) is not None
        )

    def _holes(self, node: ast.expr, scopes: list[Scope]) -> Iterator[Finding]:
        for hole in _parts(node):
            if not self._safe(hole, scopes, ()):
                text = _text(node, self._constants).replace(_HOLE, "{}")
                yield Finding(hole.lineno, ast.unparse(hole), text)

    def _safe(self, node: ast.expr, scopes: list[Scope], above: tuple[str, ...]) -> bool:
        if isinstance(node, ast.Constant):
            return True
        if isinstance(node, ast.Starred):
            return self._safe(node.value, scopes, above)
        if isinstance(node, (ast.Name, ast.Attribute, ast.Subscript)):
            return self._safe_name(node, scopes, above)
        if isinstance(node, (ast.GeneratorExp, ast.ListComp, ast.SetComp)):
            inner = [*scopes, _of_generators(node.generators, scopes[-1].name)]
            return self._safe(node.elt, inner, above)
        if isinstance(node, ast.Call) and not _is_building(node):
            return self._safe_call(node, scopes, above)
        if isinstance(node, ast.IfExp):
            return all(self._safe(one, scopes, above) for one in (node.body, node.orelse))
        parts = list(_parts(node))
        return parts != [node] and all(self._safe(one, scopes, above) for one in parts)

    def _safe_name(
        self, node: ast.Name | ast.Attribute | ast.Subscript, scopes: list[Scope],
        above: tuple[str, ...],
    ) -> bool:  # fmt: skip
        if self._is_trusted(node, scopes):
            return True
        if isinstance(node, ast.Subscript):
            return self._safe(node.value, scopes, above)
        if isinstance(node, ast.Attribute):
            of_call = isinstance(node.value, ast.Call) and self._safe(node.value, scopes, above)
            return of_call or _CAPITALS.fullmatch(node.attr) is not None
        if _CAPITALS.fullmatch(node.id):
            return True
        for scope in reversed(scopes):
            if node.id in scope.parameters or node.id in above:
                return False
            if node.id in scope.assigned:
                values = scope.assigned[node.id]
                return all(self._safe(one, scopes, (*above, node.id)) for one in values)
        return False

    def _is_trusted(self, node: ast.expr, scopes: list[Scope]) -> bool:
        what = f"{ast.unparse(node.func)}()" if isinstance(node, ast.Call) else ast.unparse(node)
        found = {what, f"{scopes[-1].name}:{what}"} & self._trusted
        self.used |= found
        return bool(found)

    def _safe_call(self, node: ast.Call, scopes: list[Scope], above: tuple[str, ...]) -> bool:
        name = _called(node)
        if name in (*QUOTING, *_NUMBERS) or self._is_trusted(node, scopes):
            return True
        given = [*node.args, *(word.value for word in node.keywords)]
        if name == "map":
            call = ast.Call(given[0], [], [])
            makes = self._is_trusted(call, scopes) or self._makes_safe(
                _last(given[0]), scopes, above
            )
            return makes and all(self._safe(one, scopes, above) for one in given[1:])
        if name in _ORDERED:
            return all(self._safe(one, scopes, above) for one in given)
        if name in self._functions and all(self._safe(one, scopes, above) for one in given):
            return self._makes_safe(name, scopes, above)
        if name in ("items", "keys", "values", "replace", "upper") and isinstance(
            node.func, ast.Attribute
        ):
            return all(self._safe(one, scopes, above) for one in (node.func.value, *given))
        return False

    def _makes_safe(self, name: str, scopes: list[Scope], above: tuple[str, ...]) -> bool:
        """Whether all that the function returns is safe where its arguments are."""
        if name in QUOTING:
            return True
        if name not in self._functions or f"{name}()" in above:
            return False
        inner = _scope(self._functions[name])
        inner.assigned |= {one: [] for one in inner.parameters}
        inner.parameters = set()
        returned = [
            one.value for one in _own(self._functions[name])
            if isinstance(one, (ast.Return, ast.Yield)) and one.value is not None
        ]  # fmt: skip
        scope = [scopes[0], inner]
        return all(self._safe(one, scope, (*above, f"{name}()")) for one in returned)


def _constants(tree: ast.Module) -> dict[str, str]:
    """Texts of the file, by their names in capitals."""
    found: dict[str, str] = {}
    for one in tree.body:
        if isinstance(one, ast.Assign) and isinstance(one.targets[0], ast.Name):
            found[one.targets[0].id] = _text(one.value, found)
    return found


def _text(node: ast.expr, constants: Mapping[str, str]) -> str:
    """The literal text of an expression that builds one, with a mark for each hole."""
    if isinstance(node, ast.Name):
        return constants.get(node.id, "")
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else ""
    if isinstance(node, ast.JoinedStr):
        return "".join(
            str(one.value) if isinstance(one, ast.Constant) else _HOLE for one in node.values
        )
    if _is_building(node):
        texts = [_text(part, constants) or _HOLE for part in _pieces(node)]
        return (" " if isinstance(node, ast.Call) else "").join(texts)
    return ""


def _parts(node: ast.expr) -> Iterator[ast.expr]:
    """The holes: all that is not literal in an expression that builds a text."""
    if isinstance(node, ast.Constant):
        return
    if isinstance(node, ast.JoinedStr):
        for one in node.values:
            if isinstance(one, ast.FormattedValue):
                yield from _parts(one.value)
    elif _is_building(node):
        for one in _pieces(node):
            yield from _parts(one)
    else:
        yield node


def _is_building(node: ast.AST) -> bool:
    if isinstance(node, ast.BinOp):
        return isinstance(node.op, (ast.Add, ast.Mod, ast.Mult))
    if isinstance(node, (ast.Tuple, ast.List)) or _is_composable(node):
        return True
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in ("format", "format_map", "join", "encode", *_TEMPLATES)
    )


def _is_composable(node: ast.AST) -> bool:
    """psycopg's `sql.SQL`, which takes its text as it is."""
    return isinstance(node, ast.Call) and _called(node) == "SQL"


def _is_template(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and _called(node) in _TEMPLATES


def _pieces(node: ast.AST) -> list[ast.expr]:
    if isinstance(node, ast.BinOp):
        return [node.left, node.right]
    if isinstance(node, (ast.Tuple, ast.List)):
        return list(node.elts)
    assert isinstance(node, ast.Call)
    given = [*node.args, *(word.value for word in node.keywords)]
    if isinstance(node.func, ast.Attribute) and _is_composable(node.func.value):
        return [node.func.value]  # psycopg binds all that is not composed, as a literal
    return given if _is_template(node) or _is_composable(node) else [_receiver(node), *given]


def _receiver(node: ast.Call) -> ast.expr:
    assert isinstance(node.func, ast.Attribute)
    return node.func.value


def _called(node: ast.Call) -> str:
    return _last(node.func)


def _last(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def _scope(node: ast.AST) -> Scope:
    scope = Scope()
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
        given = node.args
        every = [*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg]
        scope.parameters = {one.arg for one in every if one is not None}
        scope.name = getattr(node, "name", "")
    for one in _own(node):
        if isinstance(one, ast.Assign):
            for target in one.targets:
                _assign(scope, target, one.value)
        elif isinstance(one, (ast.AnnAssign, ast.AugAssign, ast.NamedExpr)) and one.value:
            _assign(scope, one.target, one.value)
        elif isinstance(one, (ast.For, ast.AsyncFor)):
            _assign(scope, one.target, one.iter)
        elif isinstance(one, ast.withitem) and one.optional_vars is not None:
            _assign(scope, one.optional_vars, one.context_expr)
        elif isinstance(one, ast.Call) and _called(one) in ("append", "extend"):
            assert isinstance(one.func, ast.Attribute)
            _assign(scope, one.func.value, one.args[0])
    return scope


def _own(node: ast.AST) -> Iterator[ast.AST]:
    """All below, without what is in functions of its own."""
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            yield child
            yield from _own(child)


def _assign(scope: Scope, target: ast.expr, value: ast.expr) -> None:
    if isinstance(target, ast.Name):
        scope.assigned.setdefault(target.id, []).append(value)
    elif isinstance(target, (ast.Tuple, ast.List)):
        values: list[ast.expr] = [value] * len(target.elts)
        if isinstance(value, (ast.Tuple, ast.List)) and len(value.elts) == len(target.elts):
            values = value.elts
        for one, given in zip(target.elts, values, strict=True):
            _assign(scope, one, given)


def _of_generators(generators: Sequence[ast.comprehension], name: str) -> Scope:
    scope = Scope(name)
    for one in generators:
        _assign(scope, one.target, one.iter)
    return scope
