"""The web's memory: pages are appended and never change, and retention and their owners say who sees them."""

import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from ecosystem.rng import stream
from ecosystem.web.corpus import ARCHIVE, COLUMNS, EVERYBODY, HUMAN, NOWHERE, Column, Corpus, Retention

KEPT = (None, 1, 2)
RETENTIONS = [Retention(human, synthetic) for human, synthetic in itertools.product(KEPT, KEPT)]


def publish(corpus, n, maker=HUMAN, start=0.0):
    corpus.publish(
        start + np.arange(2.0 * n).reshape(n, 2),
        label=np.arange(n),
        site=0,
        author=np.arange(n) + 100,
        maker=maker,
        generation=-1 if maker == HUMAN else 3,
        lineage=0.0 if maker == HUMAN else 1.5,
    )


def everything(corpus):
    return {"items": np.array(corpus.items), **{name: corpus.column(name).copy() for name in COLUMNS}}


def test_a_row_never_changes():
    """Over 60 appends, past several growths of the arrays, all earlier rows stay what they were, bit for bit."""
    corpus, sizes = Corpus((2,)), stream(0, "test", "sizes").integers(0, 300, 60)
    expected = {name: [] for name in ("items", *COLUMNS)}
    for round, n in enumerate(sizes):
        before = everything(corpus)
        publish(corpus, int(n), maker=round % 3 - 1, start=1000.0 * round)
        after = everything(corpus)
        for name, rows in before.items():
            assert_array_equal(after[name][: len(rows)], rows, name)
            expected[name].append(after[name][len(rows) :])
        corpus.close()
    assert len(corpus) == sizes.sum() > 4 * 1024
    for name, parts in expected.items():
        assert_array_equal(everything(corpus)[name], np.concatenate(parts), name)
    assert_array_equal(corpus.column("round"), np.repeat(np.arange(60) + ARCHIVE, sizes))


@given(st.lists(st.integers(0, 3000), max_size=8))
@settings(max_examples=40, deadline=None)
def test_a_column_is_what_was_appended(sizes):
    column, parts = Column(np.float64, (2,)), [np.empty((0, 2))]
    for size in sizes:
        parts.append(stream(0, "test", "rows", len(parts)).random((size, 2)))
        column.append(parts[-1], size)
    assert_array_equal(column.rows, np.concatenate(parts))


def test_growth_costs_constant_time_on_average():
    """A million rows in 10,000 appends move to a larger array 10 times, as doubling from 1,024 says."""
    column, places = Column(np.int8), set()
    for _ in range(10_000):
        column.append(np.zeros(100, np.int8), 100)
        places.add(len(column._rows))
    assert len(places) == 1 + int(np.ceil(np.log2(1_000_000 / 1024)))


def test_pages_of_a_round_are_first_seen_in_the_next():
    corpus = Corpus((2,))
    publish(corpus, 4)
    assert len(corpus.visible(Retention())) == 0, "the archive is not seen before it is closed"
    corpus.close()
    assert_array_equal(corpus.visible(Retention()), [0, 1, 2, 3])
    publish(corpus, 2, maker=0)
    assert_array_equal(corpus.visible(Retention()), [0, 1, 2, 3])
    corpus.close()
    assert_array_equal(corpus.visible(Retention()), [0, 1, 2, 3, 4, 5])


@given(rounds=st.lists(st.lists(st.tuples(st.integers(-1, 2), st.integers(0, 3)), max_size=3), max_size=6))
@settings(max_examples=40, deadline=None)
def test_retention_is_the_rule_page_by_page(rounds):
    """A page of round s is seen in rounds s + 1 .. s + kept of its kind, and for ever where kept is null."""
    corpus, pages = Corpus((2,)), []  # (maker, round) of every page
    for round, groups in enumerate(rounds, start=ARCHIVE):
        for maker, n in groups:
            publish(corpus, n, maker=maker)
            pages += [(maker, round)] * n
        all_see_what_they_should(corpus, pages, round)
        corpus.close()
    all_see_what_they_should(corpus, pages, corpus.round)


def all_see_what_they_should(corpus, pages, now):
    for retention in RETENTIONS:
        seen = [i for i, page in enumerate(pages) if sees(retention, *page, now)]
        assert_array_equal(corpus.visible(retention), seen, str(retention))


def sees(retention, maker, published, now):
    kept = retention.human_rounds if maker == HUMAN else retention.synthetic_rounds
    return published < now and (kept is None or now <= published + kept)


def test_each_retention_shows_another_web():
    """So that the law above could fail: nine policies, nine different sets of pages in round 3."""
    corpus = Corpus((2,))
    for _ in range(4):
        publish(corpus, 1)
        publish(corpus, 1, maker=0)
        corpus.close()
    assert len({tuple(corpus.visible(retention)) for retention in RETENTIONS}) == 9


def test_the_types_of_columns():
    images, vectors = Corpus((1, 4, 4)), Corpus((3,))
    assert images.items.dtype == np.uint8
    assert images.items.shape == (0, 1, 4, 4)
    assert vectors.items.dtype == np.float64
    assert vectors.items.shape == (0, 3)
    corpus = Corpus((2,))
    publish(corpus, 5)
    for name, dtype in COLUMNS.items():
        assert corpus.column(name).dtype == dtype, name
        assert corpus.column(name).shape == (5,), name
    assert corpus.visible(Retention()).dtype == np.int64


def test_a_vector_is_published_exactly_and_an_image_with_8_bits():
    vectors, images = Corpus((2,)), Corpus((1, 2, 2))
    columns = dict.fromkeys(set(COLUMNS) - {"round"}, 0)
    x = stream(0, "test", "x").standard_normal((7, 2)) * 1e-300
    vectors.publish(x, **columns)
    assert_array_equal(vectors.items, x)
    pixels = np.arange(256, dtype=np.uint8).repeat(4).reshape(256, 1, 2, 2)
    images.publish(pixels, **columns)
    assert_array_equal(images.items, pixels)


def test_one_value_stands_for_all_pages_and_no_pages_is_nothing():
    corpus = Corpus((2,))
    publish(corpus, 0)
    assert len(corpus) == 0
    publish(corpus, 3, maker=2)
    assert_array_equal(corpus.column("maker"), [2, 2, 2])
    assert_array_equal(corpus.column("author"), [100, 101, 102])
    assert_array_equal(corpus.column("round"), [ARCHIVE] * 3)


def test_a_forgotten_column_is_an_error():
    with pytest.raises(TypeError, match="lineage"):
        Corpus((2,)).publish(np.zeros((1, 2)), label=0, site=0, author=0, maker=0, generation=0)


def test_a_column_of_the_wrong_length_is_an_error():
    with pytest.raises(ValueError, match="broadcast"):
        Corpus((2,)).publish(np.zeros((3, 2)), label=[0, 1], site=0, author=0, maker=0, generation=0, lineage=0)


# Private pages, batches, and a corpus that comes back

OWNERS = (7, 8)
PUBLICATION = st.tuples(
    st.integers(-1, 2),  # maker
    st.integers(0, 2),  # generation
    st.integers(0, 3),  # pages
    st.sampled_from([None, *OWNERS]),  # owner, None: on the web
)


def published(rounds):
    """A corpus, and of every page its (maker, generation, round, owner)."""
    corpus, pages = Corpus((2,)), []
    for round, publications in enumerate(rounds, start=ARCHIVE):
        for maker, generation, n, owner in publications:
            generation = HUMAN if maker == HUMAN else generation
            corpus.publish(
                stream(0, "test", "items", len(pages)).random((n, 2)),
                label=np.arange(n),
                site=np.arange(n) if owner is None else NOWHERE,
                author=100 + np.arange(n) if owner is None else owner,
                maker=maker,
                generation=generation,
                lineage=0.0 if maker == HUMAN else 1.0 + generation / 3,
                marks=maker + 1,
            )
            pages += [(maker, generation, round, EVERYBODY if owner is None else owner)] * n
        corpus.close()
    return corpus, pages


@given(rounds=st.lists(st.lists(PUBLICATION, max_size=4), max_size=4))
@settings(max_examples=20, deadline=None)
def test_private_pages_are_their_owners_alone(rounds):
    corpus, pages = published(rounds)
    for retention in RETENTIONS:
        seen = [
            i
            for i, page in enumerate(pages)
            if page[3] == EVERYBODY and sees(retention, page[0], page[2], corpus.round)
        ]
        assert_array_equal(corpus.visible(retention), seen)
        assert corpus.shown(retention) == corpus.totals_of(corpus.visible(retention))
        assert corpus.shown(retention).pages == len(seen)
    for owner in OWNERS:
        assert_array_equal(corpus.private_of(owner), [i for i, page in enumerate(pages) if page[3] == owner])


def test_private_pages_are_seen_by_their_owner_from_the_next_round_on():
    corpus, _ = published([[(0, 0, 2, 7)]])
    corpus.publish(np.ones((1, 2)), label=0, site=NOWHERE, author=7, maker=0, generation=0, lineage=1.0)
    assert_array_equal(corpus.private_of(7), [0, 1])
    corpus.close()
    assert_array_equal(corpus.private_of(7), [0, 1, 2])
    assert len(corpus.visible(Retention())) == 0


@given(rounds=st.lists(st.lists(PUBLICATION, max_size=4), max_size=4))
@settings(max_examples=20, deadline=None)
def test_a_batch_is_what_one_model_made_in_one_round_for_one_reader(rounds):
    """Pages are of one batch if and only if they have all of that in common; batches stand in order of publication."""
    corpus, pages = published(rounds)
    assert [(b.maker, b.generation, b.round, b.owner) for b in corpus.batches] == list(dict.fromkeys(pages))
    assert [b.pages for b in corpus.batches] == list(Counter(pages).values())
    ids = np.arange(len(corpus))[::2]
    counts = {number: sum(pages[i] == page for i in ids) for number, page in enumerate(dict.fromkeys(pages))}
    assert corpus.count_batches(ids) == {number: count for number, count in counts.items() if count}
    for name, place in (("maker", 0), ("generation", 1), ("round", 2)):
        assert_array_equal(corpus.of(name, ids), [pages[i][place] for i in ids])
        assert_array_equal(corpus.column(name), [page[place] for page in pages])


@given(rounds=st.lists(st.lists(PUBLICATION, max_size=4), max_size=4), cuts=st.lists(st.integers(0, 40), max_size=3))
@settings(max_examples=20, deadline=None)
def test_a_corpus_comes_back_from_its_blocks_and_history(rounds, cuts):
    """However the blocks are cut; and what is then published is published alike."""
    corpus, pages = published(rounds)
    edges = sorted({0, len(pages), *(cut for cut in cuts if cut < len(pages))})
    blocks = [
        ({name: corpus.column(name)[a:b] for name in COLUMNS}, corpus.items[a:b]) for a, b in itertools.pairwise(edges)
    ]
    back = Corpus.restored((2,), blocks, corpus.history_before(corpus.round))
    for _ in range(2):
        assert everything(back).keys() == everything(corpus).keys()
        for name, rows in everything(corpus).items():
            assert_array_equal(everything(back)[name], rows, name)
        assert back.batches == corpus.batches
        assert (back.round, back.history_before(back.round)) == (corpus.round, corpus.history_before(corpus.round))
        for retention in RETENTIONS:
            assert_array_equal(back.visible(retention), corpus.visible(retention))
            assert back.shown(retention) == corpus.shown(retention)
        for one in (back, corpus):
            publish(one, 3, maker=1)
            one.publish(np.ones((1, 2)), label=0, site=NOWHERE, author=7, maker=1, generation=3, lineage=1.5)
            one.close()


def test_the_history_of_a_round_knows_nothing_of_later_ones():
    corpus, _ = published([[(HUMAN, 0, 5, None)], [(0, 0, 3, None)], [(0, 1, 2, 7), (0, 1, 2, None)]])
    assert corpus.history_before(1).batches == [(-1, -1, -1, EVERYBODY, 0.0, 5), (0, 0, 0, EVERYBODY, 1.0, 3)]
    assert corpus.history_before(1).totals == [(0, 0, 0.0, 0), (5, 0, 0.0, 0), (5, 3, 3.0, 0)]
    assert len(corpus.history_before(2).batches) == 4
