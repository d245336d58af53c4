"""What must happen: closed forms of self-consuming generative models, as pure functions of NumPy arrays.

| module | what it knows |
|---|---|
| ``flow`` | any flow of pages between people and models: exact second moments; the general oracle |
| ``gaussian`` | a Gaussian that trains on itself alone: sigma_t, log sigma_t, W2, determinants; sampling bias |
| ``accumulate`` | pages that pile up: accumulate, accumulate-subsample, linear regression |
| ``mixing`` | human with synthetic pages: fixed or fresh, how much synthetic data, effective sample size |
| ``providers`` | M providers that train on each other: by time, limits, effective sample size |
| ``drift`` | categories: heterozygosity, loss and fixation, time to collapse (Wright-Fisher) |
| ``kde`` | kernel densities: blur against loss of variance |
| ``curation`` | one of K is chosen: exact H^K, the curated loop, several groups of curators |
| ``preferences`` | where curation leads: limits, fixed points, bounds, adversaries, plural taste |
| ``gaussian_curation`` | curated Gaussians: linear and quadratic rewards, finite K by quadrature |
| ``stability`` | theorems on stability with human data: conditions and rates |
| ``identities`` | detectors, verifiers, contests, corrections |
| ``correction`` | synthetic pages corrected towards the target, beside fixed human ones or alone |
| ``guidance`` | negative guidance of one Gaussian: what it widens, and when it fails |
| ``guided_loops`` | the same in a loop: replaced, with fixed or with fresh human pages |
| ``market`` | whom users ask: shares, equilibria, lock-in, concentration, welfare; pages that run out |
| ``pluralism`` | many tastes: groups of one model, users of models that train on each other |

Each function states its source, formula and assumptions, and raises ``AssumptionError`` outside of them. Two clocks
are used, and each module says which: t counts fits since the human distribution (t = g + 1 for a provider's
generation g), or generations.
"""

from ecosystem.theory import (
    accumulate,
    correction,
    curation,
    drift,
    flow,
    gaussian,
    gaussian_curation,
    guidance,
    guided_loops,
    identities,
    kde,
    market,
    mixing,
    pluralism,
    preferences,
    providers,
    stability,
)

__all__ = [
    "accumulate",
    "correction",
    "curation",
    "drift",
    "flow",
    "gaussian",
    "gaussian_curation",
    "guidance",
    "guided_loops",
    "identities",
    "kde",
    "market",
    "mixing",
    "pluralism",
    "preferences",
    "providers",
    "stability",
]
