"""House rules: what ruff, mypy and import-linter cannot see, read off the syntax tree.

`python -m tests.house_rules` prints every breach and ends 1 if there is one. The sets of names are
sharp on purpose: a rule that needs a judgement is for the reviewer, not for this file.
"""

import ast
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from tests.house_rules_sets import set_iterations
from tests.house_rules_units import network_calls_in_units

ROOTS: Final = (
    "controlplane",
    "schedulers",
    "cloud_adapters",
    "migrations",
    "tests",
    "benchmarks",
    "examples",
)
CORE: Final = ("controlplane/domain/", "controlplane/reconcilers/", "schedulers/")
PRODUCT: Final = ("controlplane/", "schedulers/", "cloud_adapters/")
ROW_MAPPING: Final = "controlplane/store/"
"""Rows become objects here, so a state is read back as it was written."""

LONGEST_FUNCTION: Final = 60
LONGEST_FILE: Final = 500
LONGEST_BY_NATURE: Final = {
    "controlplane/executors/ray/wrapper.py": 750,  # travels to the cluster as one file
    "cloud_adapters/boot/program.py": 760,  # travels to bought machines as one file
    "migrations/versions/": 1000,  # a record of one release, never edited again
}
BANNED_WORDS: Final = frozenset(
    {"common", "handler", "handlers", "helper", "helpers", "manager", "managers", "master", "slave"}
    | {"util", "utils", "worker", "workers"}
)
CLOCK_READS: Final = frozenset({"now", "today", "utcnow"})
SLEEPS: Final = frozenset({"time.sleep", "sleep", "asyncio.sleep"})
SKIPS: Final = frozenset({"pytest.skip", "pytest.importorskip", "pytest.mark.skip", "pytest.mark.skipif"})

FUNCTIONS: Final = (ast.FunctionDef, ast.AsyncFunctionDef)


@dataclass(frozen=True, slots=True, kw_only=True)
class Module:
    path: str
    """From the repository's root, with forward slashes."""

    text: str
    tree: ast.Module
    nodes: tuple[ast.AST, ...]
    """All of the tree; walking it once for all rules is most of their time."""

    def within(self, *folders: str) -> bool:
        return self.path.startswith(folders)


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Breach:
    path: str
    line: int
    rule: str
    sentence: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.rule}: {self.sentence}"


Finding = tuple[int, str]
Rule = Callable[[Module], Iterator[Finding]]


def same_plan_everywhere(module: Module) -> Iterator[Finding]:
    """No clock and no hidden random state in the core: both arrive as arguments."""
    if not module.within(*CORE):
        return
    for node in module.nodes:
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in CLOCK_READS
        ):
            yield node.lineno, f"reads the clock with .{node.func.attr}(); take the time as an argument"
        if isinstance(node, ast.Attribute) and ast.unparse(node) in {"np.random", "numpy.random"}:
            yield node.lineno, "uses numpy.random; take a seeded generator as an argument"
        if isinstance(node, ast.Import) and any(name.name.startswith("numpy.random") for name in node.names):
            yield node.lineno, "imports numpy.random"
        if isinstance(node, ast.ImportFrom) and _imports_numpy_random(node):
            yield node.lineno, "imports numpy.random"


def _imports_numpy_random(node: ast.ImportFrom) -> bool:
    if node.module == "numpy":
        return any(name.name == "random" for name in node.names)
    return (node.module or "").startswith("numpy.random")


def sets_are_sorted(module: Module) -> Iterator[Finding]:
    """No order taken from a set in the core: it differs between processes."""
    if not module.within(*CORE):
        return
    for line in set_iterations(module.tree):
        yield line, "takes an order from a set; wrap it in sorted()"


def state_moves(module: Module) -> Iterator[Finding]:
    """A state changes in `.move` alone, where the lifecycle is checked; `__init__` gives the first one."""
    if not module.within(*PRODUCT) or module.within(ROW_MAPPING) or "state" not in module.text:
        return
    for node in _outside({"move", "__init__"}, module.tree):
        if _assigns_state(node):
            yield node.lineno, "sets `state` outside .move"


def _outside(names: set[str], tree: ast.AST) -> Iterator[ast.stmt | ast.expr]:
    for child in ast.iter_child_nodes(tree):
        if isinstance(child, FUNCTIONS) and child.name in names:
            continue
        if isinstance(child, ast.stmt | ast.expr):
            yield child
        yield from _outside(names, child)


def _assigns_state(node: ast.AST) -> bool:
    match node:
        case ast.Assign(targets=targets):
            return any(_is_state_attribute(target) for target in targets)
        case ast.AnnAssign(target=target) | ast.AugAssign(target=target):
            return _is_state_attribute(target)
        case ast.Call(func=func, args=args, keywords=keywords):
            called = ast.unparse(func).rpartition(".")[2]
            if called == "replace":
                return any(keyword.arg == "state" for keyword in keywords)
            is_setter = called in {"setattr", "__setattr__"}
            return is_setter and any(isinstance(arg, ast.Constant) and arg.value == "state" for arg in args)
        case _:
            return False


def _is_state_attribute(target: ast.expr) -> bool:
    return isinstance(target, ast.Attribute) and target.attr == "state"


def no_network_in_units(module: Module) -> Iterator[Finding]:
    """A write unit holds the database's write lock; nobody may wait for a network there."""
    for line, called in network_calls_in_units(module.nodes):
        yield line, f"calls {called} inside a write unit; act before or after the commit"


def plain_names(module: Module) -> Iterator[Finding]:
    """One word per thing, and none that means nothing."""
    path = PurePosixPath(module.path).with_suffix("")
    for part in path.parts:
        yield from ((1, f"module name contains {word!r}") for word in _banned(part))
    for node in module.nodes:
        if isinstance(node, ast.ClassDef):
            yield from ((node.lineno, f"class name contains {word!r}") for word in _banned(node.name))


def _banned(name: str) -> list[str]:
    words = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)
    return sorted({word.lower() for word in words} & BANNED_WORDS)


def small_pieces(module: Module) -> Iterator[Finding]:
    """Functions and files that fit in a head."""
    lines = module.text.count("\n")
    limits = (limit for path, limit in LONGEST_BY_NATURE.items() if module.within(path))
    if lines > (limit := next(limits, LONGEST_FILE)):
        yield 1, f"file has {lines} lines, the limit is {limit}"
    for node in module.nodes:
        if isinstance(node, FUNCTIONS):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length >= LONGEST_FUNCTION:
                yield node.lineno, f"{node.name} has {length} lines, the limit is below {LONGEST_FUNCTION}"


def says_what_it_is(module: Module) -> Iterator[Finding]:
    """Every module opens with a sentence; an empty `__init__` has nothing to say."""
    if module.tree.body and not ast.get_docstring(module.tree):
        yield 1, "module docstring is missing"


def no_sleep_for_luck(module: Module) -> Iterator[Finding]:
    """Tests wait for a condition: a sleep stands in a loop that polls, marked `# poll`."""
    if not module.within("tests/"):
        return
    lines = module.text.splitlines()
    calls = [node for node in module.nodes if isinstance(node, ast.Call)]
    sleeps = [call for call in calls if ast.unparse(call.func) in SLEEPS]
    loops = [node for node in module.nodes if isinstance(node, ast.While | ast.For)] if sleeps else []
    polls = {id(call) for loop in loops for call in ast.walk(loop)}
    for node in sleeps:
        marked = lines[node.lineno - 1].rstrip().endswith("# poll")
        if not (marked and id(node) in polls):
            yield node.lineno, "sleeps for luck; poll in a loop and mark the line `# poll`"


def skips_are_counted(module: Module) -> Iterator[Finding]:
    """Only `require_part` skips: any other skip would pass where the part is required."""
    if not module.within("tests/") or module.path == "tests/parts.py":
        return
    for node in module.nodes:
        if isinstance(node, ast.Attribute) and "skip" in node.attr and ast.unparse(node) in SKIPS:
            yield node.lineno, f"uses {ast.unparse(node)}; say it with tests.parts.require_part"


RULES: Final[tuple[Rule, ...]] = (
    same_plan_everywhere,
    sets_are_sorted,
    state_moves,
    no_network_in_units,
    plain_names,
    small_pieces,
    says_what_it_is,
    no_sleep_for_luck,
    skips_are_counted,
)


def breaches(path: str, text: str, rules: tuple[Rule, ...] = RULES) -> list[Breach]:
    """What `text` breaks if it stands at `path`; the path decides which rules apply."""
    tree = ast.parse(text)
    module = Module(path=path, text=text, tree=tree, nodes=tuple(ast.walk(tree)))
    return sorted(
        Breach(path=path, line=line, rule=rule.__name__, sentence=sentence)
        for rule in rules
        for line, sentence in rule(module)
    )


def all_breaches(repository: Path) -> list[Breach]:
    files = (file for root in ROOTS for file in sorted((repository / root).rglob("*.py")))
    return [
        breach
        for file in files
        for breach in breaches(file.relative_to(repository).as_posix(), file.read_text(encoding="utf-8"))
    ]


def main() -> int:
    found = all_breaches(Path(__file__).parent.parent)
    sys.stdout.writelines(f"{breach}\n" for breach in found)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
