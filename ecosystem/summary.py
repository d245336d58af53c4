"""The shape of ``summary.json``, the one object that a run, its report and ``--json`` agree on.

Nothing in it depends on wall time, host or path; those live in each seed's ``manifest.json``. A number that
does not exist is null: lambda of a training set without a human page (it is infinite), a spread over one seed.
"""

from __future__ import annotations

from typing import Literal, NotRequired, TypedDict

Verdict = Literal["stable", "improving", "degrading", "collapsed", "undecided"]
Judgement = Literal["held", "refuted", "undecided"]
Direction = Literal["lower", "higher", "neither"]


class MetricInfo(TypedDict):
    """What a metric's number means."""

    unit: str
    better: Direction


class DataSet(TypedDict):
    """A training set as it was counted, means over seeds."""

    pages: float
    human: float
    synthetic: float
    by_maker: dict[str, float]  # "human" and each provider's name -> pages


# One trained model of a provider, means over the seeds that reached it. "lambda" is a Python keyword, hence
# the functional syntax.
GenerationSummary = TypedDict(
    "GenerationSummary",
    {
        "generation": int,
        "round": int,
        "lambda": float | None,  # synthetic-to-real ratio of its training set; null: no human page
        "synthetic_share": float,
        "lineage": float,  # 1 + mean lineage of its training set
        "data_set": DataSet,
        "loss": float | None,
        "metrics": dict[str, float | None],
        "spread": dict[str, float | None],  # standard deviation over seeds; null for one seed
    },
)


class Source(TypedDict):
    """One entry of a provider's row of the data-flow matrix W, means over seeds."""

    maker: str  # "human" or a provider's name
    generation: int | None  # of the model that made the pages; null: human pages
    share: float  # of the training set


class Theory(TypedDict):
    """A closed form beside a measured metric, fed with the data flow as it was counted."""

    oracle: str
    source: str  # title, authors, year, arXiv id
    values: list[float | None]  # by generation, means over seeds of each seed's own prediction
    error: list[float | None]  # standard error of measured minus predicted, over seeds; null: fewer than two
    human: float | None  # what the human distribution itself has; null: not known
    deviation: float | None  # the largest |measured - predicted| in standard errors
    at: int | None  # the generation where it is


Holds = Literal["yes", "no", "undecided"]


class Definition(TypedDict):
    """One definition of model collapse, held against the measurements."""

    name: str
    holds: Holds
    evidence: str  # the numbers in words


class Evidence(TypedDict):
    """One measurement behind a verdict: the change of a metric against the provider's own generation 0."""

    metric: str
    start: float | None  # at generation 0
    end: float | None  # mean of the last generations (see verdicts.py)
    effect: float | None  # how much worse, as a ratio: 1 is no change, above 1 is worse
    low: float | None  # 95 % interval of the effect
    high: float | None
    reads: Verdict
    more_seeds: int | None  # that would decide, at the spread seen; null: decided, or not to be known


class BaselineMiss(TypedDict):
    metric: str
    card: float
    run: float


class Baseline(TypedDict):
    """Generation 0 against the clean-data baseline written in the model card."""

    held: bool
    misses: list[BaselineMiss]


class Stopped(TypedDict):
    """A provider whose training could not go on."""

    seed: int
    round: int
    why: str


class ProviderSummary(TypedDict):
    model: str
    family: str
    verdict: Verdict
    note: str  # what limits the verdict ("one seed: ..."), or ""
    evidence: list[Evidence]
    definitions: list[Definition]  # of model collapse: which hold
    theory: dict[str, Theory]  # by metric, where there is a closed form
    sources: list[Source]  # the last generation's row of W
    baseline: Baseline | None  # null where the card has none for these human data
    stopped: list[Stopped]
    generations: list[GenerationSummary]
    vote_share: list[float | None]  # by round: share of all ballots won; null: no ballot was cast


class WebRound(TypedDict):
    """The web as it stands when a round closes, means over seeds."""

    round: int
    pages: float
    human: float
    synthetic: float
    synthetic_share: float
    lineage: float


class ClaimSummary(TypedDict):
    text: str  # the claim in words
    verdict: Judgement
    effect: float | None
    low: float | None
    high: float | None
    evidence: str  # the numbers in words
    more_seeds: int | None  # that would decide, at the spread seen; null: decided, or not to be known


class HumansInfo(TypedDict):
    source: str
    shape: list[int]
    classes: int
    held_out: int
    features: str  # the named features of the Frechet distance
    classifier_accuracy: float | None  # on the held-out set


class Ecosystem(TypedDict):
    """What was measured of the web, of groups and of providers beside their models, means over the seeds, by round.

    Null: not measured in that round. A measure without an entry in ``measures`` is a plain number.
    """

    web: dict[str, list[float | None]]
    agents: dict[str, dict[str, list[float | None]]]  # by name of a group or provider
    measures: dict[str, MetricInfo]


class Summary(TypedDict):
    scenario: str
    question: str
    papers: list[str]
    seeds: list[int]
    rounds: int
    humans: HumansInfo
    verdict: Verdict  # the worst of its providers'
    providers: dict[str, ProviderSummary]
    web: list[WebRound]
    claims: list[ClaimSummary]
    metrics: dict[str, MetricInfo]
    ecosystem: NotRequired[Ecosystem]  # where anything was measured beside models
