"""The rules of the house, read off the source: imports run one way, randomness has one door, nothing is unpickled.

The rules are checked on the syntax tree, so that a comment cannot break one and a string cannot hide one. Imports under
``if TYPE_CHECKING`` do not run and do not count; imports inside functions do.
"""

import ast
import graphlib
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "ecosystem"

# From the ground up: a part imports from the rows below its own alone. Parts of a row do not know one another.
LAYERS = (
    ("errors", "settings", "rng", "summary", "distribution", "notices", "stopwatch"),
    ("documents", "compute", "theory", "changes", "locks", "measures"),
    ("grammar", "humans"),
    ("metrics", "models"),
    ("web", "features"),
    ("agents", "evaluation", "coevolution"),
    ("question",),
    ("checks",),
    ("model_cards",),
    ("events", "weights"),
    ("scenarios",),
    ("world", "records"),
    ("estimates", "checkpoints"),
    ("agreement", "recovery"),
    ("loop", "verdicts", "predictions", "contraction"),
    ("collapse", "lines"),
    ("summarise", "reports", "scoreboard"),
    ("results",),
    ("comparison", "forking"),
    ("ecosystem", "progress", "baselines", "catalogue"),  # "ecosystem" is the package's own face, __init__.py
    ("references", "literature"),
    ("reproduction",),
    ("sweeping",),
    ("terminal",),
    ("commands",),
    ("cli",),
    ("__main__",),
)


@cache
def modules():
    """Dotted name -> syntax tree."""
    found = {}
    for path in sorted(ROOT.rglob("*.py")):
        name = ".".join(path.relative_to(ROOT.parent).with_suffix("").parts)
        found[name.removesuffix(".__init__")] = ast.parse(path.read_text(encoding="utf-8"), str(path))
    return found


def running(node):
    """All nodes of a tree that can run: without the branches of ``if TYPE_CHECKING``."""
    if isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
        children = node.orelse
    else:
        yield node
        children = ast.iter_child_nodes(node)
    for child in children:
        yield from running(child)


@cache
def nodes(tree):
    return tuple(running(tree))


def is_package(name):
    return (ROOT.parent / name.replace(".", "/")).is_dir()


def imported(name):
    """What a module imports when it runs, as full dotted names: `from a import b` gives `a.b`."""
    home = name if is_package(name) else name.rpartition(".")[0]
    for node in nodes(modules()[name]):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = home.split(".")[: len(home.split(".")) + 1 - node.level] if node.level else []
            base = ".".join([*above, *filter(None, [node.module])])
            yield from (f"{base}.{alias.name}" for alias in node.names)


def own(name):
    """The module of this package that an imported name lies in, or None."""
    while name and name not in modules():
        name = name.rpartition(".")[0]
    return name or None


def part(name):
    """ecosystem.web.corpus -> web; ecosystem -> ecosystem."""
    return name.split(".")[1] if "." in name else name


def needs(name):
    """The modules of this package that a module imports."""
    return {found for target in imported(name) if (found := own(target)) not in (None, name)}


def reached(*starts):
    """All modules that importing these runs, but for the package's own face, which imports nothing at once."""
    found, todo = set(), list(starts)
    while todo:
        if (name := todo.pop()) not in found:
            found.add(name)
            todo += needs(name) - {"ecosystem"}
    return found


def foreign(*starts):
    """The top-level packages of others that importing these modules can run."""
    return {target.split(".")[0] for name in reached(*starts) for target in imported(name) if own(target) is None}


def inside(*parts):
    return [name for name in modules() if part(name) in parts]


# Imports run one way


def test_every_part_has_its_place():
    """A new module is given a row in the table above, and a row that is no more is taken out."""
    placed = [name for row in LAYERS for name in row]
    assert sorted(placed) == sorted({part(name) for name in modules()})


@pytest.mark.parametrize("name", modules())
def test_imports_run_one_way(name):
    level = {unit: number for number, row in enumerate(LAYERS) for unit in row}
    upward = [other for other in needs(name) if part(other) != part(name) and level[part(other)] >= level[part(name)]]
    assert upward == []


def test_the_walk_sees_imports():
    """So that the law above could fail: known imports, at the top, inside a function, and of a relative name."""
    assert {"ecosystem.web.corpus", "ecosystem.rng"} <= needs("ecosystem.world")
    assert "ecosystem.models.classifier" in needs("ecosystem.world"), "imported inside a function"
    assert "ecosystem.errors" in needs("ecosystem.documents"), "a relative import"
    assert "ecosystem.world" not in needs("ecosystem.agents.user"), "for the types alone"
    assert {"torch", "mesa", "networkx"} <= foreign("ecosystem.world")


def test_no_circles():
    """Nor inside a part: there is an order in which every module could be read."""
    graph = {name: needs(name) - {"ecosystem"} for name in modules()}
    list(graphlib.TopologicalSorter(graph).static_order())


@pytest.mark.parametrize(
    ("parts", "banned"),
    [
        (("models",), {"mesa", "rich"}),
        (("metrics",), {"mesa", "rich"}),
        (("humans",), {"mesa", "rich"}),
        (("web",), {"mesa", "rich", "torch"}),
        (("reports",), {"torch", "mesa", "pydantic"}),
        (("verdicts", "summary", "rng", "errors"), {"mesa", "rich", "pydantic"}),
    ],
    ids=lambda value: "-".join(sorted(value)),
)
def test_what_a_part_must_not_import_even_through_others(parts, banned):
    """But for the shared ground that models and web stand on: settings.py checks with pydantic, rng.py seeds torch."""
    mine = {name for name in reached(*inside(*parts)) if part(name) != "rng" or "rng" in parts}
    assert {t.split(".")[0] for name in mine for t in imported(name)} & banned == set()


def test_reports_know_the_summary_and_nothing_else_of_the_package():
    assert {part(name) for name in reached(*inside("reports"))} == {"reports", "summary"}


@pytest.mark.parametrize(
    ("module", "unloaded"),
    [
        ("ecosystem", {"torch", "mesa", "pydantic", "numpy", "rich"}),
        ("ecosystem.cli", {"torch", "mesa", "pydantic", "numpy", "scipy", "pandas"}),
        ("ecosystem.reports", {"torch", "mesa", "pydantic", "pandas"}),
    ],
)
def test_importing_is_instant(module, unloaded):
    """In a fresh interpreter: the heavy libraries are imported by what needs them."""
    code = f"import sys, {module}; print(*{{name.split('.')[0] for name in sys.modules}})"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert set(loaded.stdout.split()) & unloaded == set()


# Randomness has one door

NAMELESS = {
    "rand",
    "randn",
    "randint",
    "randperm",
    "normal",
    "bernoulli",
    "multinomial",
    "poisson",
    "uniform_",
    "normal_",
    "bernoulli_",
    "random_",
    "exponential_",
}
MAKERS = {"default_rng", "RandomState", "SeedSequence", "manual_seed", "fork_rng", "PCG64", "MT19937", "Philox"}
GLOBAL = ("np.random.", "numpy.random.", "random.", "torch.random.")

# (module, call) -> why it may
EXCEPTIONS = {
    ("ecosystem.models.nets", "torch.random.fork_rng"): (
        "shields the global generator from the constructors of layers; the parameters are drawn anew from a stream"
    ),
}


def randomness(name):
    """Calls that make a generator, or draw from a global one, and imports of the modules that only do that."""
    for target in imported(name):
        if target.split(".")[0] in ("random", "secrets") or target.startswith(("numpy.random", "torch.random")):
            yield f"import {target}"
    for node in nodes(modules()[name]):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and makes_or_lacks_a_generator(node):
            yield ast.unparse(node.func)
        elif isinstance(node, ast.Attribute) and ast.unparse(node) in MESAS:
            yield ast.unparse(node)


def makes_or_lacks_a_generator(node):
    call, last = ast.unparse(node.func), node.func.attr
    given = {keyword.arg for keyword in node.keywords}
    makes = call.startswith(GLOBAL) or last in MAKERS or call in ("torch.Generator", "torch.seed")
    lacks = last in NAMELESS and call.startswith(("torch.", "nn.")) and "generator" not in given
    return makes or lacks


# Mesa brings generators of its own, shared by all agents: one more agent would change everybody's draws.
MESAS = {f"{owner}.{name}" for owner in ("self", "world", "self.model") for name in ("random", "rng", "shuffle_do")}


@pytest.mark.parametrize("name", modules())
def test_nothing_but_rng_makes_a_generator(name):
    found = {call for call in randomness(name) if (name, call) not in EXCEPTIONS}
    if name == "ecosystem.rng":
        makers = {"np.random.Generator", "np.random.PCG64", "torch.Generator", "generator.manual_seed"}
        assert found == {*makers, "torch.random.fork_rng"}
    else:
        assert found == set()


def test_every_exception_is_used():
    assert {(name, call) for name in modules() for call in randomness(name)} >= set(EXCEPTIONS)


@pytest.mark.parametrize(
    "code",
    [
        "import random",
        "from numpy.random import default_rng",
        "np.random.seed(0)",
        "np.random.default_rng(3)",
        "torch.manual_seed(0)",
        "torch.Generator()",
        "g.manual_seed(3)",
        "torch.randn(3)",
        "nn.init.normal_(w)",
        "torch.randperm(n, device=d)",
        "self.random.shuffle(x)",
        "world.rng.random()",
    ],
)
def test_the_walk_sees_randomness(code, monkeypatch):
    """So that the law above could fail."""
    monkeypatch.setitem(modules(), "ecosystem.tried", ast.parse(code))
    assert list(randomness("ecosystem.tried"))


@pytest.mark.parametrize(
    "code", ["torch.randn(3, generator=g)", "rng.random(3)", "x: np.random.Generator", "f(seed=3)"]
)
def test_the_walk_lets_streams_pass(code, monkeypatch):
    monkeypatch.setitem(modules(), "ecosystem.tried", ast.parse(code))
    assert list(randomness("ecosystem.tried")) == []


# Nothing is unpickled, nothing is imported by its name as text

UNPICKLERS = {"pickle", "_pickle", "dill", "cloudpickle", "shelve", "joblib", "marshal", "jsonpickle", "runpy"}
BY_TEXT = {"__import__", "eval", "exec", "compile", "import_module", "spec_from_file_location"}
LOADERS = {"import_module", "resolve_name", "read_pickle", "unsafe_load", "full_load"}  # of anything


def unsafe(name):
    for target in imported(name):
        if target.split(".")[0] in UNPICKLERS or target.startswith(("importlib.import_module", "importlib.util")):
            yield f"import {target}"
    for node in nodes(modules()[name]):
        if isinstance(node, ast.Call) and is_unsafe(node):
            yield ast.unparse(node.func)


def is_unsafe(node):
    call = ast.unparse(node.func)
    given = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
    return (
        call in BY_TEXT
        or call.split(".")[-1] in LOADERS
        or (call.startswith("yaml.") and "load" in call)
        or (call in ("np.load", "numpy.load") and given.get("allow_pickle") != "False")
        or given.get("allow_pickle", "False") != "False"
        or (call == "torch.load" and given.get("weights_only") != "True")
    )


@pytest.mark.parametrize("name", modules())
def test_nothing_is_unpickled_and_nothing_is_imported_by_text(name):
    assert list(unsafe(name)) == []


@pytest.mark.parametrize(
    "code",
    [
        "import pickle",
        "from joblib import load",
        "yaml.load(text)",
        "yaml.unsafe_load(text)",
        "np.load(path)",
        "np.load(path, allow_pickle=True)",
        "torch.load(path)",
        "importlib.import_module(name)",
        "from importlib import import_module",
        "pkgutil.resolve_name(name)",
        "pd.read_pickle(path)",
        "np.lib.format.read_array(file, allow_pickle=True)",
        "numpy.load(path)",
        "import runpy",
        "__import__(name)",
        "eval(text)",
    ],
)
def test_the_walk_sees_what_is_unsafe(code, monkeypatch):
    monkeypatch.setitem(modules(), "ecosystem.tried", ast.parse(code))
    assert list(unsafe("ecosystem.tried"))


# Names


PACKAGES = [name for name in modules() if is_package(name)]


def test_no_drawer_for_odds_and_ends():
    words = {"utils", "util", "helpers", "helper", "common", "misc", "tools", "base_utils"}
    assert [name for name in modules() if words & set(name.split(".")[-1].split("_"))] == []


@pytest.mark.parametrize("name", PACKAGES)
def test_no_name_of_a_package_hides_a_module_of_it(name):
    """Importing `package.thing` sets the attribute `thing` of the package: a function of that name would be gone."""
    tree = modules()[name]
    defined = {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    below = {other.rpartition(".")[2] for other in modules() if other.rpartition(".")[0] == name}
    assert defined & below == set()
