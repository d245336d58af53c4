"""The graph of sites: networkx's graphs by name, faults before a run, and the order of a crawl."""

import networkx as nx
import numpy as np
import pytest

from ecosystem import scenarios
from ecosystem.errors import ScenarioError
from ecosystem.web.sites import GRAPHS, LARGEST_COMPLETE, RANDOM, SitesSettings, breadth_first

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
    if sites.graph in RANDOM and sites.p != 0.0:
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
    assert breadth_first(graph, 0).tolist() == [0]


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
        visited = breadth_first(graph, start)
        assert visited[0] == start
        assert visited.dtype == np.int64
        assert sorted(visited) == sorted(distance)
        assert (np.diff([distance[site] for site in visited]) >= 0).all()
