"""What sites admit: rates against what is asked for, the cases one by one, and the neutral values of every policy.

All draws come from fixed streams, so a test passes or fails for good. Shares are held to 4 standard errors: a correct
policy would have failed once in a thousand versions of this file.
"""

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from pydantic import TypeAdapter, ValidationError

from ecosystem.rng import stream
from ecosystem.web.admission import Admission, AdmitAll, Label, RefuseFlagged, RequireWatermark, strict_sites
from ecosystem.web.marks import CLAIMED, FLAGGED, WATERMARKED

PAGES, SITES = 40_000, 50
POLICIES = [
    AdmitAll(),
    RefuseFlagged(tpr=0.8, fpr=0.1, share=0.5),
    Label(tpr=0.8, fpr=0.1, share=0.5),
    RequireWatermark(rate=0.7, share=0.5),
]
every_policy = pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: policy.kind)


def web():
    """Synthetic, marks and site of pages: human ones carry no mark, and a few are private."""
    rng = stream(0, "test", "web")
    synthetic = rng.random(PAGES) < 0.4
    marks = np.where(synthetic, rng.integers(0, 8, size=PAGES), 0).astype(np.uint8) & ~FLAGGED
    return synthetic, marks, rng.integers(-1, SITES, size=PAGES)


def admit(policy, strict=None, pages=None):
    strict = policy.strict(SITES, 0) if strict is None else strict
    return policy.admit(*(pages or web()), strict, stream(0, "test", "admission"))


def near(share, expected, n):
    return abs(share - expected) <= 4 * np.sqrt(expected * (1 - expected) / n)


EVERYWHERE = np.ones(SITES, dtype=bool)


# Laws of every policy


@every_policy
def test_lenient_sites_and_private_pages_are_left_alone(policy):
    _, marks, site = web()
    strict = policy.strict(SITES, 0)
    admitted, marked = admit(policy)
    alone = (site < 0) | ~strict[site]
    assert admitted[alone].all()
    assert_array_equal(marked[alone], marks[alone])
    assert marked.dtype == np.uint8
    assert admitted.dtype == bool
    if not isinstance(policy, AdmitAll):
        assert strict.sum() == 25
        assert not (admitted.all() and np.array_equal(marked, marks)), "elsewhere it does something"


@every_policy
def test_the_marks_that_come_in_are_not_touched(policy):
    synthetic, marks, site = web()
    admit(policy, EVERYWHERE, (synthetic, marks, site))
    assert_array_equal(marks, web()[1])


@pytest.mark.parametrize(
    "policy",
    [
        AdmitAll(),
        RefuseFlagged(tpr=0.0, fpr=0.0),
        Label(tpr=0.0, fpr=0.0),
        RefuseFlagged(tpr=1.0, fpr=1.0, share=0.0),
        Label(tpr=1.0, fpr=1.0, share=0.0),
        RequireWatermark(rate=0.0, share=0.0),
    ],
)
def test_neutral_values_admit_all_as_it_is(policy):
    admitted, marks = admit(policy)
    assert admitted.all()
    assert_array_equal(marks, web()[1])


@every_policy
def test_no_pages(policy):
    admitted, marks = admit(policy, pages=(np.empty(0, bool), np.empty(0, np.uint8), np.empty(0, np.int64)))
    assert len(admitted) == len(marks) == 0


def test_admit_all_draws_nothing():
    rng = stream(0, "test", "admission")
    AdmitAll().admit(*web(), EVERYWHERE, rng)
    assert rng.random() == stream(0, "test", "admission").random()


# Which sites are strict


@pytest.mark.parametrize(("share", "sites"), [(0.0, 7), (0.3, 10), (0.5, 50), (0.999, 10), (1.0, 7), (1.0, 1)])
def test_a_share_of_the_sites_is_strict(share, sites):
    assert strict_sites(share, sites, 0).sum() == round(share * sites)


def test_sites_join_in_one_order():
    joined = [strict_sites(share, SITES, 3) for share in (0.1, 0.4, 0.8, 1.0)]
    assert all((fewer <= more).all() for fewer, more in zip(joined, joined[1:], strict=False))
    assert (strict_sites(0.4, SITES, 3) != strict_sites(0.4, SITES, 4)).any(), "of a seed"
    first = [int(np.flatnonzero(strict_sites(0.02, SITES, seed))[0]) for seed in range(200)]
    assert len(set(first)) > 40, "any site can be the first"


# Each policy


@pytest.mark.parametrize(("tpr", "fpr"), [(0.8, 0.1), (0.5, 0.5), (1.0, 0.0), (0.3, 1.0)])
def test_a_detector_has_its_rates(tpr, fpr):
    """Of refusing and of labelling; and the share that remains is p (1 - tpr) / (p (1 - tpr) + (1 - p) (1 - fpr))."""
    synthetic, marks, site = web()
    public = site >= 0
    admitted, unmarked = admit(RefuseFlagged(tpr=tpr, fpr=fpr), EVERYWHERE)
    everything, marked = admit(Label(tpr=tpr, fpr=fpr), EVERYWHERE)
    assert_array_equal(unmarked, marks)
    assert everything.all()
    assert_array_equal(marked & FLAGGED > 0, ~admitted), "what one refuses the other labels"
    assert_array_equal(marked & ~FLAGGED, marks)
    for truth, rate in ((synthetic, tpr), (~synthetic, fpr)):
        which = truth & public
        assert near((~admitted)[which].mean(), rate, which.sum())
    p, n = synthetic[public].mean(), (admitted & public).sum()
    expected = p * (1 - tpr) / (p * (1 - tpr) + (1 - p) * (1 - fpr))
    assert near(synthetic[admitted & public].mean(), expected, n)


@pytest.mark.parametrize("rate", [0.0, 0.7, 1.0])
def test_a_watermark_is_required_of_what_is_not_published_as_human(rate):
    synthetic, marks, site = web()
    admitted, unmarked = admit(RequireWatermark(rate=rate), EVERYWHERE)
    assert_array_equal(unmarked, marks)
    claimed, watermarked = marks & CLAIMED > 0, marks & WATERMARKED > 0
    assert admitted[~synthetic].all(), "human pages pass"
    assert admitted[claimed].all(), "and what is claimed to be human"
    open_ = synthetic & ~claimed & (site >= 0)
    assert not admitted[open_ & ~watermarked].any()
    which = open_ & watermarked
    assert near(admitted[which].mean(), rate, which.sum())


@pytest.mark.parametrize(
    ("weak", "strong"),
    [
        (RefuseFlagged(tpr=0.3, fpr=0.1), RefuseFlagged(tpr=0.6, fpr=0.1)),
        (RefuseFlagged(tpr=0.3, fpr=0.1), RefuseFlagged(tpr=0.3, fpr=0.2)),
        (RefuseFlagged(tpr=0.3, fpr=0.1, share=0.2), RefuseFlagged(tpr=0.3, fpr=0.1, share=0.7)),
        (RequireWatermark(rate=0.9), RequireWatermark(rate=0.4)),
    ],
)
def test_a_stricter_policy_refuses_more_and_lets_none_back_in(weak, strong):
    before, after = admit(weak)[0], admit(strong)[0]
    assert (after <= before).all()
    assert after.sum() < before.sum()


def test_kinds_in_yaml():
    policy = TypeAdapter(Admission).validate_json
    assert policy('{"kind": "admit-all"}') == AdmitAll()
    assert policy('{"kind": "label", "tpr": 0.5, "fpr": 0.1}') == Label(tpr=0.5, fpr=0.1, share=1.0)
    assert policy('{"kind": "refuse-flagged", "tpr": 0.5, "fpr": 0, "share": 0.2}').share == 0.2
    assert policy('{"kind": "require-watermark", "rate": 0.9}').rate == 0.9
    for wrong in (
        '{"kind": "label"}',
        '{"kind": "label", "tpr": 1.1, "fpr": 0}',
        '{"kind": "admit-all", "share": 1}',
        '{"kind": "require-watermark", "rate": 0.9, "share": -1}',
    ):
        with pytest.raises(ValidationError):
            policy(wrong)
