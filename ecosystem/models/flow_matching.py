"""Flow matching with minibatch optimal transport (OT-CFM).

    x_t = (1 - t) z + t x,   loss = E || v(x_t, t, y) - (x - z) ||^2,   dx/dt = v from t = 0 to 1

Lipman et al., Flow Matching for Generative Modeling, 2022, arXiv 2210.02747. ``coupling: minibatch-ot`` pairs the
noise and data of a batch by the exact optimal transport plan (Tong et al., Improving and Generalizing Flow-Based
Generative Models with Minibatch Optimal Transport, 2023, arXiv 2302.00482). The plan pairs *within a class*: across
classes it would let the label leak into the noise, and a prompt would then see noise that its class was never
trained on.

Between equally many points of equal weight an optimal plan is a permutation (Birkhoff), so the plan is an assignment:
SciPy's solver finds the same one as POT's network simplex (a test holds them together) in a sixth of the time,
0.7 against 4.6 ms for a batch of 128 in ten classes. It still takes the third power of the pairs: of 256 without
classes, several times what the update takes of a small network. ``coupling_batch`` makes several smaller plans of a
batch, which is the same estimator with a smaller minibatch; README says what that costs in distance.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ecosystem.models.guided import Predict
from ecosystem.models.neural import Regression, ScoreFamily
from ecosystem.models.ode import OdeSampler, Sampler
from ecosystem.settings import Positive

SMALL = 32  # pairs, up to which it is dearer to prepare the solver's work than to let it do it


@dataclass(frozen=True)
class FlowMatching(ScoreFamily):
    family: Literal["flow-matching"] = "flow-matching"
    coupling: Literal["minibatch-ot", "independent"] = "minibatch-ot"
    coupling_batch: Positive | None = None  # pairs that the plan is made of at once, at most; null: all of a batch
    sampler: Sampler = OdeSampler()

    def draws(self, x: Tensor, y: Tensor, generator: torch.Generator) -> tuple[Tensor, ...]:
        z = torch.randn(x.shape, generator=generator, device=x.device)
        t = torch.rand(len(x), generator=generator, device=x.device)
        return (z[pair(z, x, y, self.coupling_batch)] if self.coupling == "minibatch-ot" else z), t

    def regression(self, x: Tensor, *draws: Tensor) -> Regression:
        z, t = draws
        s = t.reshape(-1, *[1] * (x.ndim - 1))
        return Regression((1 - s) * z + s * x, t, x - z)

    @property
    def samples_in_blocks(self) -> bool:
        return super().samples_in_blocks and isinstance(self.sampler, OdeSampler)  # an adaptive one lets rows go

    def integrate(self, net: Predict, y: Tensor, noise: Tensor) -> Tensor:
        return self.sampler.solve(net, y, noise)


def pair(z: Tensor, x: Tensor, y: Tensor, size: int | None = None) -> Tensor:
    """The permutation (N,) that pairs noise z[p[i]] with x[i] at least total squared distance within classes.

    ``size``: within parts of a class of at most so many; None is all of them in the batch.
    """
    labels = y.cpu().numpy()
    order = np.argsort(labels, kind="stable")
    rows = torch.from_numpy(order).to(x.device)
    # |x - z|^2 = |x|^2 + |z|^2 - 2 x.z, and only the last term depends on who is paired with whom.
    with torch.autocast(x.device.type, enabled=False):  # NumPy knows no bfloat16, and partners are told by small parts
        gain = (x.flatten(1)[rows] @ z.flatten(1)[rows].T).cpu().numpy()
    if not np.isfinite(gain).all():
        return torch.arange(len(x), device=z.device)  # nothing to pair; the loss will say what is wrong
    partner = np.empty_like(order)
    for part in _parts(np.bincount(labels).tolist(), size or len(x)):
        partner[part] = order[part][_assigned(gain[part, part])]
    permutation = np.empty_like(order)
    permutation[order] = partner
    return torch.from_numpy(permutation).to(z.device)


def _parts(counts: Sequence[int], size: int) -> Iterator[slice]:
    """The parts of at most ``size`` of classes of so many, one class behind the other."""
    start = 0
    for count in counts:
        yield from (slice(at, min(at + size, start + count)) for at in range(start, start + count, size))
        start += count


def _assigned(gain: NDArray[Any]) -> NDArray[np.int64]:
    """The column of each row, at the greatest sum."""
    from scipy.optimize import linear_sum_assignment  # late: importing it takes most of a second

    if len(gain) > SMALL:
        # What is taken from a column or a row moves no optimum, and spares the solver most of its search.
        gain = gain.astype(np.float64)
        gain -= gain.max(0)
        gain -= gain.max(1)[:, None]
    columns: NDArray[np.int64] = linear_sum_assignment(gain, maximize=True)[1]
    return columns
