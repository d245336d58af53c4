"""The graph of sites: networkx's graphs by name and from files, faults before a run, and what follows from links."""

import os
import re
import time

import networkx as nx
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from ecosystem import documents, grammar, scenarios
from ecosystem.errors import ScenarioError
from ecosystem.rng import key, stream
from ecosystem.web import graphs
from ecosystem.web.links import Links, by_site, newest_of_each_site
from ecosystem.web.sites import GRAPHS, LARGEST_COMPLETE, SitesSettings

GRAPHS_TRIED = [
    SitesSettings(count=12),
    SitesSettings(count=12, graph="cycle_graph"),
    SitesSettings(count=40, graph="barabasi_albert_graph", m=2),
    SitesSettings(count=40, graph="erdos_renyi_graph", p=0.1),
    SitesSettings(count=40, graph="erdos_renyi_graph", p=0.0),
    SitesSettings(count=40, graph="watts_strogatz_graph", k=4, p=0.2),
]
every_graph = pytest.mark.parametrize("sites", GRAPHS_TRIED, ids=lambda s: f"{s.graph}-{GRAPHS_TRIED.index(s)}")


def edges(graph):
    return sorted(tuple(sorted(edge)) for edge in graph.edges)


def test_all_graphs_of_the_registry_are_tried():
    assert {sites.graph for sites in GRAPHS_TRIED} == set(GRAPHS)


@every_graph
def test_sites_are_numbered_from_0(sites):
    assert sites.faults() == []
    assert list(sites.build(0)) == list(range(sites.count))


@every_graph
def test_a_graph_depends_on_the_seed_alone(sites):
    assert edges(sites.build(3)) == edges(sites.build(3))
    if graphs.parameters(sites.graph)[2] and sites.p != 0.0:
        assert edges(sites.build(3)) != edges(sites.build(4)), "another seed is another web"


def test_arguments_reach_networkx():
    """Links by the graphs' own arithmetic: n(n-1)/2, n, m(n-m), k n/2; Erdos and Renyi's within 4 standard errors."""
    assert SitesSettings(count=12).build(0).number_of_edges() == 66
    assert SitesSettings(count=12, graph="cycle_graph").build(0).number_of_edges() == 12
    for m in (1, 3):
        assert SitesSettings(count=40, graph="barabasi_albert_graph", m=m).build(0).number_of_edges() == m * (40 - m)
    for k in (2, 6):
        graph = SitesSettings(count=40, graph="watts_strogatz_graph", k=k, p=0.5).build(0)
        assert graph.number_of_edges() == k * 40 // 2
    pairs = 200 * 199 / 2
    for p in (0.05, 0.3):
        links = SitesSettings(count=200, graph="erdos_renyi_graph", p=p).build(0).number_of_edges()
        assert abs(links - p * pairs) < 4 * np.sqrt(pairs * p * (1 - p))


def test_one_site_is_the_default():
    graph = SitesSettings().build(0)
    assert (list(graph), edges(graph)) == ([0], [])
    assert Links(graph).breadth_first(0).tolist() == [0]


@pytest.mark.parametrize(
    ("sites", "faults"),
    [
        (SitesSettings(graph="barabasi_albert_graph", count=9), ["barabasi_albert_graph needs `m`"]),
        (SitesSettings(graph="watts_strogatz_graph", count=9, k=2), ["watts_strogatz_graph needs `p`"]),
        (SitesSettings(count=9, m=2), ["complete_graph takes no `m`"]),
        (
            SitesSettings(graph="erdos_renyi_graph", count=9, k=2),
            ["erdos_renyi_graph needs `p`", "erdos_renyi_graph takes no `k`"],
        ),
        (
            SitesSettings(graph="barabasi_albert_graph", count=3, m=3),
            ["barabasi_albert_graph needs more sites than links a site (3 against 3)"],
        ),
        (
            SitesSettings(graph="watts_strogatz_graph", count=3, k=5, p=0.1),
            ["watts_strogatz_graph needs more sites than links a site (3 against 5)"],
        ),
        (
            SitesSettings(count=LARGEST_COMPLETE + 1),
            ["complete_graph links every pair; for more than 1,000 sites take another graph"],
        ),
    ],
)
def test_wrong_arguments_are_told_in_words(sites, faults):
    assert sites.faults() == faults


@pytest.mark.parametrize("graph", GRAPHS)
def test_what_has_no_fault_can_be_built(graph):
    """Over all small counts and arguments; and what networkx refuses has a fault."""
    built = refused = 0
    for count in (1, 2, 3, 5):
        for m in (1, 2, 4):
            arguments = {"m": m, "k": m, "p": 0.5}
            sites = SitesSettings(count=count, graph=graph, **{name: arguments[name] for name in GRAPHS[graph]})
            if sites.faults():
                refused += 1
            else:
                assert len(sites.build(0)) == count
                built += 1
    assert built
    assert bool(refused) == bool({"m", "k"} & set(GRAPHS[graph]))


def test_a_scenario_with_wrong_sites_is_refused_with_its_line():
    text = """
name: w
rounds: 1
humans: {source: gaussian}
web:
  sites: {count: 5, graph: barabasi_albert_graph}
providers: [{name: lab, card: {family: gaussian}}]
"""
    with pytest.raises(ScenarioError, match=r"scenario:6\s+web\.sites: barabasi_albert_graph needs `m`"):
        scenarios.from_text(text)


@every_graph
def test_a_crawl_meets_the_nearest_sites_first(sites):
    """Every site that can be reached, once, in the order of its distance: against networkx's shortest paths."""
    graph = sites.build(1)
    for start in (0, sites.count // 2, sites.count - 1):
        distance = nx.single_source_shortest_path_length(graph, start)
        visited = Links(graph).breadth_first(start)
        assert visited[0] == start
        assert visited.dtype == np.int64
        assert sorted(visited) == sorted(distance)
        assert (np.diff([distance[site] for site in visited]) >= 0).all()


def test_a_seeded_graph_is_networkx_s_own():
    """The same links in the same order, on which the order of a crawl depends."""
    seed = key(3, "web", "graph") % 2**32
    for sites, graph in [
        (GRAPHS_TRIED[2], nx.barabasi_albert_graph(40, 2, seed=seed)),
        (GRAPHS_TRIED[3], nx.erdos_renyi_graph(40, 0.1, seed=seed)),
        (GRAPHS_TRIED[5], nx.watts_strogatz_graph(40, 4, 0.2, seed=seed)),
    ]:
        assert {a: list(near) for a, near in sites.build(3).adj.items()} == {a: list(b) for a, b in graph.adj.items()}


# Any generator

ARGUMENTS = {
    "m": 2,
    "m1": 2,
    "m2": 1,
    "k": 2,
    "d": 4,
    "r": 3,
    "p": 0.2,
    "p1": 0.3,
    "p2": 0.3,
    "q": 0.2,
    "s": 4,
    "v": 2,
    "p_in": 0.5,
    "p_out": 0.1,
    "radius": 0.4,
    "theta": 0.1,
    "alpha": 0.5,
    "mu": 0.1,
    "tau1": 3,
    "tau2": 1.5,
}
# What they need is not a number, or needs luck and hundreds of sites; or they give something else than a graph.
NOT_BUILT = {
    "LCF_graph",
    "LFR_benchmark_graph",
    "circulant_graph",
    "general_random_intersection_graph",
    "random_kernel_graph",
    "random_powerlaw_tree_sequence",
}
# Trees that grow by luck: with one seed there are sites, with the next there may be none.
LUCK = {"random_lobster", "random_lobster_graph", "random_powerlaw_tree"}
every_generator = pytest.mark.parametrize("graph", sorted(graphs.generators()))


def of(graph, count, **more):
    needed = graphs.parameters(graph)[0]
    usual = {name: ARGUMENTS.get(name, 2) for name in needed}
    usual |= {"m": 2 * count} if graph == "hnm_harary_graph" else {}
    return SitesSettings(count=count, graph=graph, arguments=usual | more)


def is_simple(graph):
    plain = not graph.is_directed() and not graph.is_multigraph() and nx.number_of_selfloops(graph) == 0
    return plain and list(graph) == list(range(len(graph))) and len(graph) > 0


def test_the_generators_are_networkx_s():
    assert len(graphs.generators()) >= 60
    assert set(GRAPHS) < set(graphs.generators())
    assert not {"star_graph", "hypercube_graph", "random_k_out_graph", "gnm_random_graph"} - set(graphs.generators())
    assert not {"Graph", "petersen_graph", "grid_2d_graph", "read_graphml", "_wheel"} & set(graphs.generators())
    assert (graphs.SPARSE | set(graphs.GROWTH)) <= set(graphs.generators())


@every_generator
def test_any_generator_makes_a_simple_graph_or_tells_its_fault(graph):
    counts = (3, 4, 5) if graph in graphs.GROWTH else (8, 9, 30)
    tried = [(sites, sites.faults()) for sites in (of(graph, count) for count in counts)]
    built = [sites.build(0) for sites, faults in tried if not faults and graph not in LUCK]
    assert all(map(is_simple, built))
    assert bool(built) == (graph not in NOT_BUILT | LUCK), tried
    assert all(len(faults) <= 1 for _, faults in tried)


@every_generator
def test_no_generator_takes_long_or_fills_the_memory(graph):
    """Of arguments without measure each is a fault, told at once."""
    needed = graphs.parameters(graph)[0]
    for count in (10**9, 2 * 10**6):
        huge = SitesSettings(count=count, graph=graph, arguments=dict.fromkeys(needed, 10**9) | {"p": 0.99999999})
        begun = time.process_time()
        assert huge.faults()
        assert time.process_time() - begun < 1


@pytest.mark.parametrize("graph", [name for name in sorted(graphs.generators()) if name not in NOT_BUILT | LUCK])
def test_links_are_within_what_is_said_to_be_the_most(graph):
    for count in (3, 4, 5):
        sites = of(graph, count)
        if not sites.faults():
            assert sites.build(0).number_of_edges() <= 2 * graphs.links_at_most(graph, count, sites.arguments) + 10


def test_arguments_reach_any_generator():
    assert of("gnm_random_graph", 30, m=50).build(0).number_of_edges() == 50
    assert len(of("hypercube_graph", 5).build(0)) == 32
    assert SitesSettings(count=30, graph="gnm_random_graph", m=50).build(0).number_of_edges() == 50, "by a short key"
    assert nx.is_directed_acyclic_graph(nx.gn_graph(9, seed=1))
    assert is_simple(of("gn_graph", 9).build(0)), "links have no direction"
    assert is_simple(of("margulis_gabber_galil_graph", 4).build(0)), "nor are there two of them, or a loop"
    directed = SitesSettings(count=40, graph="erdos_renyi_graph", arguments={"p": 0.1, "directed": True})
    assert is_simple(directed.build(0))
    short, long = SitesSettings(count=40, graph="barabasi_albert_graph", m=2), of("barabasi_albert_graph", 40)
    assert edges(short.build(1)) == edges(long.build(1))


def test_a_seedable_generator_depends_on_the_seed_alone():
    sites = of("random_geometric_graph", 40)
    assert edges(sites.build(3)) == edges(sites.build(3)) != edges(sites.build(4))


@pytest.mark.parametrize(
    ("sites", "said"),
    [
        (SitesSettings(graph="barabasi_graph"), "no generator `barabasi_graph` .* mean `barabasi_albert_graph`"),
        (SitesSettings(graph="__import__"), "networkx has no generator"),
        (SitesSettings(graph="petersen_graph"), "networkx has no generator"),
        (of("random_geometric_graph", 9, radios=1), r"takes no `radios` \(did you mean `radius`\?\)"),
        (of("random_geometric_graph", 9, seed=1), "takes no `seed`"),
        (of("star_graph", 9, create_using=1), "takes no `create_using`"),
        (SitesSettings(graph="random_geometric_graph", count=9), "random_geometric_graph needs `radius`"),
        (SitesSettings(graph="barabasi_albert_graph", count=9, m=2, arguments={"m": 3}), "`m` is given twice"),
        (of("random_regular_expander_graph", 9, d=3), "random_regular_expander_graph cannot be built: .*even"),
        (of("circulant_graph", 9, offsets=2), "circulant_graph cannot be built"),
        (of("barabasi_albert_graph", 9, m=2.5), "barabasi_albert_graph cannot be built"),
        (of("barabasi_albert_graph", 9, m=20), r"needs more sites than links a site \(9 against 20\)"),
        (of("random_powerlaw_tree_sequence", 40, tries=9000), "random_powerlaw_tree_sequence makes no graph"),
        (of("turan_graph", 5000), "turan_graph may make 12,500,000 links of this, more than 500,000"),
        (of("hypercube_graph", 70), "hypercube_graph may make .* links of this"),
    ],
    ids=lambda value: getattr(value, "graph", None),
)
def test_what_is_wrong_with_any_generator_is_told_in_words(sites, said):
    (fault,) = sites.faults()
    assert re.search(said, fault), fault


def test_settings_in_yaml():
    def settings(text):
        return grammar.validate(SitesSettings, documents.parse(text, "sites"))

    sites = settings("count: 9\ngraph: navigable_small_world_graph\narguments: {p: 1, r: 2.5, dim: 1}")
    assert sites.arguments == {"p": 1, "r": 2.5, "dim": 1}
    assert [type(value) for value in sites.arguments.values()] == [int, float, int]
    assert settings("{graph: erdos_renyi_graph, arguments: {directed: true}}").arguments["directed"] is True
    assert grammar.dump(SitesSettings()) == {
        "count": 1,
        "graph": "complete_graph",
        "m": None,
        "k": None,
        "p": None,
        "arguments": None,
        "file": None,
    }
    for wrong in ("graph: 3", "arguments: {p: [1]}", "arguments: {p: null}", "arguments: [1]", "file: 3", "files: x"):
        with pytest.raises(ScenarioError):
            settings(wrong)


# Graphs from files

WEB = nx.Graph([("news", "blog"), ("blog", "shop"), ("news", "wiki"), ("shop", "wiki"), ("wiki", "home")])
NUMBERED = [(0, 1), (0, 3), (1, 2), (2, 3), (3, 4)]


def write(graph, path):
    if path.suffix == ".graphml":
        nx.write_graphml(graph, path)
    else:
        nx.write_edgelist(graph, path)
    return SitesSettings(file=str(path))


@pytest.mark.parametrize("suffix", [".graphml", ".edgelist", ".txt"])
@pytest.mark.parametrize("kind", [nx.Graph, nx.DiGraph, nx.MultiGraph, nx.MultiDiGraph])
def test_a_file_gives_sites_in_its_order(suffix, kind, tmp_path):
    graph = kind(WEB)
    graph.add_edge("home", "home")
    if graph.is_multigraph():
        graph.add_edge("news", "blog")
    sites = write(graph, tmp_path / f"web{suffix}")
    assert sites.faults() == []
    assert is_simple(sites.build(0))
    if suffix == ".graphml":
        assert edges(sites.build(0)) == sorted(
            tuple(sorted((list(WEB).index(a), list(WEB).index(b)))) for a, b in WEB.edges
        )
    else:
        assert nx.is_isomorphic(sites.build(0), WEB)


def test_an_edge_list_as_people_write_it(tmp_path):
    path = tmp_path / "web.txt"
    path.write_text(
        "# my web\nnews blog 0.5\n\n news wiki 1e-3 # often\n"
        "blog\tshop {'weight': 2, 'x': 'a b'}\r\nshop wiki\nwiki home\n"
    )
    sites = SitesSettings(file=str(path))
    assert sites.faults() == []
    assert edges(sites.build(0)) == [(0, 1), (0, 2), (1, 3), (2, 3), (2, 4)], "news, blog, wiki, shop, home"


def test_a_file_that_has_changed_is_read_again(tmp_path):
    path = tmp_path / "web.edgelist"
    path.write_text("a b\n")
    assert len(SitesSettings(file=str(path)).build(0)) == 2
    path.write_text("a b\nb c\n")
    assert len(SitesSettings(file=str(path)).build(0)) == 3


def test_a_file_has_its_own_number_of_sites(tmp_path):
    file = write(WEB, tmp_path / "web.graphml").file
    assert SitesSettings(file=file, count=5).faults() == []
    assert SitesSettings(file=file, count=6).faults() == [f"`{documents.shown(file)}` has 5 sites, not 6"]
    for more in ({"m": 2}, {"graph": "cycle_graph"}, {"arguments": {"p": 1}}):
        assert "leave out" in SitesSettings(file=file, **more).faults()[0]


GRAPHML = b'<graphml xmlns="http://graphml.graphdrawing.org/xmlns">'
BOMB = '<!DOCTYPE g [<!ENTITY a "aaaaaaaaaa">' + "".join(
    f'<!ENTITY {b} "{f"&{a};" * 10}">' for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)
HOSTILE = {
    "empty.graphml": b"",
    "empty.txt": b"",
    "remarks.txt": b"# nothing\n\n",
    "prose.txt": b"The web is a graph of sites.\n",
    "table.txt": b"from,to\n1,2\n",
    "binary.txt": bytes(range(256)) * 20,
    "binary.graphml": b"\x00\xff\xfe" * 99,
    "text.graphml": b"news blog\n",
    "html.graphml": b"<html><body>no graph</body></html>",
    "cut.graphml": GRAPHML + b'<graph edgedefault="undirected"><node',
    "nothing.graphml": GRAPHML + b"</graphml>",
    "no-sites.graphml": GRAPHML + b'<graph edgedefault="directed"/></graphml>',
    "hyper.graphml": GRAPHML + b'<graph edgedefault="directed"><hyperedge/></graph></graphml>',
    "bomb.graphml": (BOMB + "]><graphml>&i;</graphml>").encode(),
    "utf16.graphml": '<?xml version="1.0"?><graphml/>'.encode("utf-16"),
    "deep.graphml": b"<a>" * 50_000,
    "one-word.txt": b"a b\nb c\nlonely\n",
    "long.txt": b"a " * 200_000,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_no_graph_is_one_fault(name, tmp_path):
    path = tmp_path / name
    path.write_bytes(HOSTILE[name])
    sites = SitesSettings(file=str(path))
    (fault,) = sites.faults()
    assert "is not a graph" in fault
    assert len(fault) < 300
    with pytest.raises(ScenarioError, match="is not a graph"):
        sites.build(0)


def test_what_is_no_file_is_one_fault(tmp_path):
    folder, pipe, large = tmp_path / "folder.txt", tmp_path / "pipe.txt", tmp_path / "large.txt"
    folder.mkdir()
    os.mkfifo(pipe)
    with large.open("wb") as file:
        file.truncate(graphs.LIMIT_FILE_BYTES + 1)
    for path, said in [
        (tmp_path / "none.txt", "cannot be found"),
        (tmp_path / "nu\0ll.txt", "cannot be found"),
        (folder, "is not a regular file"),
        (pipe, "is not a regular file"),
        (large, "more than the limit of 4 MiB"),
        (tmp_path / "web.gml", "must end in one of: .graphml, .edgelist, .txt"),
        (tmp_path / "web.graphml.gz", "must end in one of"),
    ]:
        (fault,) = SitesSettings(file=str(path)).faults()
        assert said in fault


# Links

ISOLATED = nx.disjoint_union(nx.path_graph(4), nx.disjoint_union(nx.empty_graph(2), nx.star_graph(3)))
LINKED = {
    "one": nx.empty_graph(1),
    "isolated": ISOLATED,
    "none": nx.empty_graph(5),
    "lollipop": nx.lollipop_graph(5, 4),
    "albert": nx.barabasi_albert_graph(60, 2, seed=1),
    "complete": nx.complete_graph(20),
}
every_link = pytest.mark.parametrize("graph", LINKED.values(), ids=LINKED)


@every_link
def test_links_are_the_graphs(graph):
    links = Links(graph)
    assert len(links) == len(graph)
    for site, near in graph.adj.items():
        assert links.neighbours[links.starts[site] : links.starts[site + 1]].tolist() == list(near)
    assert links.degrees.tolist() == [degree for _, degree in graph.degree]


@every_link
def test_sites_are_met_in_the_order_of_networkx(graph):
    for start in range(0, len(graph), 3):
        order = [start, *(site for _, site in nx.bfs_edges(graph, start))]
        assert Links(graph).breadth_first(start).tolist() == order


@every_link
def test_components_are_networkx_s(graph):
    labels = Links(graph).components
    found = {frozenset(np.flatnonzero(labels == label).tolist()) for label in labels}
    assert found == set(map(frozenset, nx.connected_components(graph)))


@every_link
@pytest.mark.parametrize("damping", [0.0, 0.5, 0.85, 0.95])
def test_page_rank_is_networkx_s(graph, damping):
    links = Links(graph)
    expected = nx.pagerank(graph, alpha=damping, tol=1e-14, max_iter=10_000)
    assert_allclose(links.page_rank(damping), list(expected.values()), atol=1e-8, rtol=0)
    assert links.page_rank(damping) is links.page_rank(damping), "it is reckoned once"
    assert links.page_rank(damping).sum() == pytest.approx(1)


def test_page_rank_solves_its_equation():
    """Against a dense solve, to the last digits."""
    n, d = len(ISOLATED), 0.85
    adjacency = nx.to_numpy_array(ISOLATED)
    degrees = adjacency.sum(1)
    P = np.where(degrees[:, None] > 0, adjacency / np.maximum(degrees, 1)[:, None], 1 / n)
    rank = np.linalg.solve(np.eye(n) - d * P.T, np.full(n, (1 - d) / n))
    assert_allclose(Links(ISOLATED).page_rank(), rank, atol=1e-12)


# Pages by site


@pytest.mark.parametrize(("pages", "sites"), [(0, 3), (1, 1), (500, 7), (300, 1000), (20_000, 7), (20_000, 30_000)])
def test_pages_by_site(pages, sites):
    site = stream(0, "test", "site").integers(sites, size=pages).astype(np.int32)
    positions, first = by_site(site, sites)
    assert_array_equal(positions, np.argsort(site, kind="stable"))
    assert_array_equal(np.diff(first), np.bincount(site, minlength=sites))


@pytest.mark.parametrize("capacity", [0, 1, 3, 40, 1000])
def test_each_site_keeps_its_newest_pages(capacity):
    site = (9 * stream(0, "test", "site").random(400) ** 2).astype(np.int32)
    kept = newest_of_each_site(site, capacity)
    for each in range(9):
        mine = np.flatnonzero(site == each)
        assert_array_equal(np.flatnonzero(kept & (site == each)), mine[max(0, len(mine) - capacity) :])
    assert newest_of_each_site(site[:0], capacity).tolist() == []
