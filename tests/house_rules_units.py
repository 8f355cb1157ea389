"""Finds calls that may wait for a network in what is handed to `store.write(..)`."""

import ast
from collections.abc import Iterator, Sequence
from typing import Final

CLIENT_MODULES: Final = frozenset(
    {"boto3", "http", "httpx", "kubernetes", "requests", "socket", "subprocess", "urllib"}
)
PORTS: Final = frozenset({"adapter", "client", "cloud", "executor", "lends", "sells", "storage"})
WAITS: Final = frozenset({"time.sleep", "urlopen"})

Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda


def network_calls_in_units(nodes: Sequence[ast.AST]) -> Iterator[tuple[int, str]]:
    """(line, what is called) in all nodes of a file, following calls to functions of the same file."""
    functions = {node.name: node for node in nodes if isinstance(node, ast.FunctionDef)}
    seen: set[int] = set()
    waiting = list(_units(nodes, functions))
    while waiting:
        unit = waiting.pop()
        if id(unit) in seen:
            continue
        seen.add(id(unit))
        for call in (node for node in ast.walk(unit) if isinstance(node, ast.Call)):
            if _may_wait(call):
                yield call.lineno, ast.unparse(call.func)
            called = functions.get(_last_name(call.func))
            if called is not None:
                waiting.append(called)


def _units(nodes: Sequence[ast.AST], functions: dict[str, ast.FunctionDef]) -> Iterator[Function]:
    writes = (
        node
        for node in nodes
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "write"
    )
    for write in writes:
        for argument in _unwrapped(write.args):
            if isinstance(argument, ast.Lambda):
                yield argument
            elif (named := functions.get(_last_name(argument))) is not None:
                yield named


def _unwrapped(arguments: list[ast.expr]) -> Iterator[ast.expr]:
    """Looks through `partial(unit, ..)`."""
    for argument in arguments:
        if isinstance(argument, ast.Call) and _last_name(argument.func) == "partial" and argument.args:
            yield argument.args[0]
        else:
            yield argument


def _may_wait(call: ast.Call) -> bool:
    called = ast.unparse(call.func)
    first, *rest = called.split(".")
    if called in WAITS or (rest and first in CLIENT_MODULES):
        return True
    return any(part.rpartition("_")[2] in PORTS for part in called.split(".")[:-1])


def _last_name(node: ast.expr) -> str:
    return ast.unparse(node).rpartition(".")[2]
