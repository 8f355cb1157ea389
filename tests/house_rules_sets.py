"""Finds places that take an order from a set, within what one file shows."""

import ast
from collections.abc import Iterator
from typing import Final

SET_TYPES: Final = frozenset({"set", "frozenset", "Set", "AbstractSet", "MutableSet"})
SET_METHODS: Final = frozenset({"union", "intersection", "difference", "symmetric_difference", "copy"})
SET_OPERATORS: Final = (ast.BitOr, ast.BitAnd, ast.BitXor, ast.Sub)
ORDER_KEEPERS: Final = frozenset(
    {"list", "tuple", "iter", "enumerate", "zip", "map", "filter", "join", "array", "fromiter"}
)
ORDER_BLIND: Final = frozenset({"sorted", "set", "frozenset", "any", "all", "len", "sum", "min", "max"})
"""Calls whose answer is the same in any order; min and max only without a key, see `_ranks`."""


def set_iterations(tree: ast.Module) -> Iterator[int]:
    """Line numbers. A name counts as a set where its own function (or the module) makes it one."""
    attributes = _set_attributes(tree)
    yield from _Scope(names=frozenset(), attributes=attributes).walk(tree)


class _Scope:
    def __init__(self, *, names: frozenset[str], attributes: frozenset[str]) -> None:
        self._names = names
        self._attributes = attributes

    def walk(self, owner: ast.AST) -> Iterator[int]:
        """Visits one module or function, and each function inside it with the names it adds."""
        inner = _Scope(names=self._names | self._own_sets(owner), attributes=self._attributes)
        blind: set[int] = set()
        for node in _own_nodes(owner):
            if isinstance(node, ast.Call) and _is_blind(node):
                blind.update(id(arg) for arg in node.args)
            if id(node) not in blind and inner.takes_order(node):
                yield getattr(node, "lineno", 1)
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield from inner.walk(node)

    def takes_order(self, node: ast.AST) -> bool:
        match node:
            case ast.For(iter=source) | ast.Starred(value=source, ctx=ast.Load()):
                return self.is_set(source)
            case ast.ListComp() | ast.GeneratorExp() | ast.DictComp():
                return any(self.is_set(generator.iter) for generator in node.generators)
            case ast.Call(func=func, args=args):
                keeps = ast.unparse(func).rpartition(".")[2] in ORDER_KEEPERS
                pops = (
                    isinstance(func, ast.Attribute)
                    and func.attr == "pop"
                    and not args
                    and self.is_set(func.value)
                )
                return pops or ((keeps or _ranks(node)) and any(self.is_set(arg) for arg in args))
            case _:
                return False

    def is_set(self, node: ast.expr) -> bool:
        match node:
            case ast.Set() | ast.SetComp():
                return True
            case ast.Name(id=name):
                return name in self._names
            case ast.Attribute(attr=attribute):
                return attribute in self._attributes
            case ast.Call(func=ast.Name(id=name)):
                return name in {"set", "frozenset"}
            case ast.Call(func=ast.Attribute(value=value, attr=method)):
                return method in SET_METHODS and self.is_set(value)
            case ast.BinOp(left=left, op=op, right=right):
                return isinstance(op, SET_OPERATORS) and (self.is_set(left) or self.is_set(right))
            case _:
                return False

    def _own_sets(self, owner: ast.AST) -> frozenset[str]:
        names: set[str] = set()
        if isinstance(owner, ast.FunctionDef | ast.AsyncFunctionDef):
            arguments = (*owner.args.posonlyargs, *owner.args.args, *owner.args.kwonlyargs)
            names.update(argument.arg for argument in arguments if _is_set_type(argument.annotation))
        for node in _own_nodes(owner):
            match node:
                case ast.AnnAssign(target=ast.Name(id=name), annotation=annotation):
                    names.update({name} if _is_set_type(annotation) else ())
                case ast.Assign(targets=[ast.Name(id=name)], value=value):
                    known = _Scope(names=self._names | names, attributes=self._attributes)
                    names.update({name} if known.is_set(value) else ())
                case _:
                    pass
        return frozenset(names)


def _own_nodes(owner: ast.AST) -> Iterator[ast.AST]:
    """Parents first, without what belongs to functions inside."""
    for child in ast.iter_child_nodes(owner):
        yield child
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from _own_nodes(child)


def _is_blind(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and ast.unparse(node.func) in ORDER_BLIND and not _ranks(node)


def _ranks(node: ast.AST) -> bool:
    """`max(ids, key=..)` answers with the first of equals."""
    if not isinstance(node, ast.Call) or ast.unparse(node.func) not in {"min", "max"}:
        return False
    return any(keyword.arg == "key" for keyword in node.keywords)


def _set_attributes(tree: ast.Module) -> frozenset[str]:
    """Fields that a class of this file declares as a set."""
    fields = (node for owner in ast.walk(tree) if isinstance(owner, ast.ClassDef) for node in owner.body)
    return frozenset(
        node.target.id
        for node in fields
        if isinstance(node, ast.AnnAssign)
        and isinstance(node.target, ast.Name)
        and _is_set_type(node.annotation)
    )


def _is_set_type(annotation: ast.expr | None) -> bool:
    match annotation:
        case ast.Subscript(value=value):
            return _is_set_type(value)
        case ast.Name(id=name):
            return name in SET_TYPES
        case ast.Attribute(attr=name):
            return name in SET_TYPES
        case _:
            return False
