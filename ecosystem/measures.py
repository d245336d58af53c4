"""The names of what is measured, or told, of the web and of agents beside their models, with units.

``coevolution: true`` measures those with an entry here; the others are told by the policies that make them.
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

BY_CREATORS = ("active", "adopted-share", "reservoir-left", "refused")
BY_USERS = ("refused",)
BY_SCRAPERS = (
    *("tpr", "fpr", "auc", "good-share-before", "good-share-after", "reward-before", "reward-after"),
    *("removed", "rarest", "taken"),
)
