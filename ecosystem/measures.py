"""The names of what is measured, or told, of the web and of agents beside their models, with units.

``coevolution: true`` measures those of COEVOLUTION; the others are told by the policies that make them.
"""

from __future__ import annotations

from ecosystem.summary import MetricInfo

WEB: dict[str, MetricInfo] = {
    "vote-concentration": {"unit": "share", "better": "lower"},
    "provider-distance": {"unit": "raw units", "better": "neither"},
    "matthew": {"unit": "log growth a log share", "better": "lower"},
    "served-diversity": {"unit": "ratio", "better": "higher"},
    "web-diversity": {"unit": "kinds", "better": "higher"},
}
OF_USERS: dict[str, MetricInfo] = {"welfare": {"unit": "reward", "better": "higher"}}
OF_PROVIDERS: dict[str, MetricInfo] = {
    "self-influence": {"unit": "reward", "better": "higher"},
    "cross-influence": {"unit": "reward", "better": "higher"},
}
COEVOLUTION = WEB | OF_USERS | OF_PROVIDERS

# Told of those who have such a policy, watched or not.
BY_CREATORS: dict[str, MetricInfo] = {
    "active": {"unit": "people", "better": "higher"},
    "adopted-share": {"unit": "share of their pages", "better": "neither"},
    "reservoir-left": {"unit": "pages", "better": "neither"},
    "refused": {"unit": "pages", "better": "neither"},
}
BY_USERS: dict[str, MetricInfo] = {"refused": BY_CREATORS["refused"]}
BY_SCRAPERS: dict[str, MetricInfo] = {
    "tpr": {"unit": "share of synthetic", "better": "higher"},
    "fpr": {"unit": "share of human", "better": "lower"},
    "auc": {"unit": "probability", "better": "higher"},
    "good-share-before": {"unit": "share of pages", "better": "higher"},
    "good-share-after": {"unit": "share of pages", "better": "higher"},
    "reward-before": {"unit": "reward", "better": "higher"},
    "reward-after": {"unit": "reward", "better": "higher"},
    "removed": {"unit": "share of pages", "better": "neither"},
    "rarest": {"unit": "pages", "better": "neither"},
    "taken": {"unit": "share of pages", "better": "neither"},
}
ALL = COEVOLUTION | BY_CREATORS | BY_USERS | BY_SCRAPERS
