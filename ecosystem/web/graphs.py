"""Graphs of sites by name and from files: networkx's generators and readers, bounded before they run.

A generator is any public function of ``networkx.generators`` that begins with a number ``n``; its other arguments
are numbers. ``n`` is the number of sites for most, and something smaller for a few (a hypercube has 2^n). How many
links a generator may make is bounded by formulas of its arguments, so that no scenario can ask for more than a
memory holds: `links_at_most`. Whatever comes out is made a simple undirected graph with sites 0, 1, ...
"""

from __future__ import annotations

import inspect
import re
import stat
from collections.abc import Callable, Iterator, Mapping
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from ecosystem.documents import shown
from ecosystem.errors import ScenarioError

if TYPE_CHECKING:
    import networkx as nx

Numbers = Mapping[str, float]

LIMIT_FILE_BYTES = 2**22  # 200,000 links and more
LIMIT_LINKS = 500_000  # of a generator: some seconds and 300 MB
NOT_SETTINGS = ("seed", "create_using", "backend", "backend_kwargs")  # parameters of networkx that no scenario sets
COLUMN = re.compile(r"[-+.\deE]+|\{.*\}")  # what may follow the two sites of an edge: a weight, or attributes

# Their links grow like n times the largest of their arguments (a degree, a number of tries); no formula: like n^2.
SPARSE = {
    "barabasi_albert_graph",
    "circular_ladder_graph",
    "connected_watts_strogatz_graph",
    "cycle_graph",
    "dual_barabasi_albert_graph",
    "empty_graph",
    "generalized_petersen_graph",
    "ladder_graph",
    "newman_watts_strogatz_graph",
    "path_graph",
    "powerlaw_cluster_graph",
    "random_k_out_graph",
    "random_labeled_tree",
    "random_regular_expander_graph",
    "star_graph",
    "watts_strogatz_graph",
    "wheel_graph",
}
GROWTH: dict[str, Callable[[int, Numbers], float]] = {
    "binomial_tree": lambda n, a: 2.0 ** min(n, 99),
    "dorogovtsev_goltsev_mendes_graph": lambda n, a: 3.0 ** min(n + 1, 99),
    "dense_gnm_random_graph": lambda n, a: n * n / 2,
    "extended_barabasi_albert_graph": lambda n, a: n * a["m"] / _above_0(1 - a["p"] - a["q"]),
    "fast_gnp_random_graph": lambda n, a: n + a["p"] * n * n / 2,
    "gnm_random_graph": lambda n, a: n + a["m"],
    "hnm_harary_graph": lambda n, a: n + a["m"],
    "hypercube_graph": lambda n, a: n * 2.0 ** min(n, 99),
    "kneser_graph": lambda n, a: 3.0 ** min(n, 99),  # pairs of sets without a common member
    "margulis_gabber_galil_graph": lambda n, a: 8 * n * n,
    "mycielski_graph": lambda n, a: 3.0 ** min(n, 99),
    "navigable_small_world_graph": lambda n, a: _quadratic(float(n) ** min(a.get("dim", 2), 9), a),
    "random_cograph": lambda n, a: 4.0 ** min(n, 99),
    "random_lobster": lambda n, a: n / _above_0(1 - a["p1"]) / _above_0(1 - a["p2"]),
    "random_lobster_graph": lambda n, a: n / _above_0(1 - a["p1"]) / _above_0(1 - a["p2"]),
    "random_unlabeled_rooted_forest": lambda n, a: 2 * n * n,  # it counts all smaller trees first
    "random_unlabeled_rooted_tree": lambda n, a: 2 * n * n,
    "random_unlabeled_tree": lambda n, a: 2 * n * n,
    "scale_free_graph": lambda n, a: 5 * n / _above_0(1 - a.get("beta", 0.54)),
    "sudoku_graph": lambda n, a: 2 * float(n) ** 6,
    "windmill_graph": lambda n, a: n * a["k"] ** 2 / 2,
}


def _above_0(x: float) -> float:
    return max(x, 1e-9)


def _largest(arguments: Numbers) -> float:
    return max((abs(value) for value in arguments.values()), default=1)


def _quadratic(n: float, arguments: Numbers) -> float:
    return n * max(n / 2, _largest(arguments))


def links_at_most(graph: str, n: int, arguments: Numbers) -> float:
    """Roughly how many links a generator may make, or how long it may look for them."""
    if graph in SPARSE:
        return n * max(1, _largest(arguments))
    grown = GROWTH[graph](n, arguments) if graph in GROWTH else _quadratic(n, arguments)
    return max(grown, _largest(arguments))


@cache
def generators() -> dict[str, Callable[..., nx.Graph]]:
    """networkx's graph generators whose first parameter is ``n``, by name."""
    import networkx as nx

    public = {name: made for name, made in vars(nx.generators).items() if callable(made) and not name.startswith("_")}
    of_generators = {name: f for name, f in public.items() if f.__module__.startswith("networkx.generators.")}
    return {name: f for name, f in sorted(of_generators.items()) if next(iter(inspect.signature(f).parameters)) == "n"}


@cache
def parameters(graph: str) -> tuple[tuple[str, ...], tuple[str, ...], bool]:
    """What a generator takes beside ``n``: what it needs, what it may be given, and whether it draws by a seed."""
    every = inspect.signature(generators()[graph]).parameters
    settable = {name: p for name, p in list(every.items())[1:] if name not in NOT_SETTINGS}
    needed = tuple(name for name, p in settable.items() if p.default is p.empty)
    return needed, tuple(settable), "seed" in every


def generate(graph: str, n: int, arguments: Numbers, seed: int) -> nx.Graph:
    """Raises ScenarioError where networkx refuses, or makes no graph."""
    import networkx as nx

    seeded = {"seed": seed} if parameters(graph)[2] else {}
    try:
        made = generators()[graph](n, **arguments, **seeded)
    except (nx.NetworkXException, ArithmeticError, LookupError, TypeError, ValueError) as error:
        raise ScenarioError(f"{graph} cannot be built: {shown(error)}") from error
    if not isinstance(made, nx.Graph) or len(made) == 0:
        raise ScenarioError(f"{graph} makes no graph with these arguments")
    return simple(made)


def simple(graph: nx.Graph) -> nx.Graph:
    """Undirected, without loops or parallel links, its sites numbered from 0 in the order in which they stand."""
    import networkx as nx

    plain = not graph.is_directed() and not graph.is_multigraph() and not nx.number_of_selfloops(graph)
    if plain and all(number == node for number, node in enumerate(graph)):
        return graph
    number = {node: number for number, node in enumerate(graph)}
    links = {tuple(sorted((number[a], number[b]))) for a, b in graph.edges() if a != b}
    made = nx.empty_graph(len(graph))
    made.add_edges_from(sorted(links))
    return made


def read(path: Path) -> nx.Graph:
    """The graph of a GraphML file or an edge list; raises ScenarioError, naming the file."""
    try:
        status = path.stat()
    except (OSError, ValueError) as error:  # a ValueError for a null character
        raise ScenarioError(f"the graph file `{shown(path)}` cannot be found") from error
    if not stat.S_ISREG(status.st_mode):
        raise ScenarioError(f"the graph file `{shown(path)}` is not a regular file")
    if status.st_size > LIMIT_FILE_BYTES:
        raise ScenarioError(
            f"the graph file `{shown(path)}` has {status.st_size / 2**20:.1f} MiB, "
            f"more than the limit of {LIMIT_FILE_BYTES // 2**20} MiB"
        )
    return _read(path, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=2)
def _read(path: Path, changed: int, size: int) -> nx.Graph:
    """The same, of a file that was of that size when it was last changed: read once for all seeds."""
    import networkx as nx

    try:
        text = path.read_bytes().decode("utf-8-sig")
        graph = _graphml(text) if path.suffix == ".graphml" else nx.parse_edgelist(_edges(text), data=False)
        if len(graph) == 0:
            raise ScenarioError("it has no site")
    except Exception as error:  # XML and networkx's readers raise whatever a hostile file makes them
        why = "it is not UTF-8 text" if isinstance(error, UnicodeError) else shown(error)
        raise ScenarioError(f"the graph file `{shown(path)}` is not a graph: {why}") from error
    return nx.freeze(simple(graph))


def _graphml(text: str) -> nx.Graph:
    import networkx as nx

    if "<!" in text.replace("<!--", "").replace("<![CDATA[", ""):  # entities could grow without bound
        raise ScenarioError("a GraphML file has no document type")
    return nx.parse_graphml(text)


def _edges(text: str) -> Iterator[str]:
    """The lines of an edge list, each held to be one: two sites, and perhaps a weight or attributes."""
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.partition("#")[0].split(maxsplit=2)
        if words and (len(words) < 2 or not all(COLUMN.fullmatch(column.strip()) for column in words[2:])):
            raise ScenarioError(f"line {number} is not two sites with white space between them")
        if words:
            yield f"{words[0]} {words[1]}"
