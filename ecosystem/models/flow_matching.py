"""Flow matching with minibatch optimal transport (OT-CFM).

    x_t = (1 - t) z + t x,   loss = E || v(x_t, t, y) - (x - z) ||^2,   dx/dt = v from t = 0 to 1

Lipman et al., Flow Matching for Generative Modeling, 2022, arXiv 2210.02747. ``coupling: minibatch-ot`` pairs the
noise and data of a batch by the exact optimal transport plan (Tong et al., Improving and Generalizing Flow-Based
Generative Models with Minibatch Optimal Transport, 2023, arXiv 2302.00482). The plan pairs *within a class*: across
classes it would let the label leak into the noise, and a prompt would then see noise that its class was never
trained on.

Between equally many points of equal weight an optimal plan is a permutation (Birkhoff), so the plan is an assignment:
SciPy's solver finds the same one as POT's network simplex (a test holds them together). It takes the third power of
the pairs, and most of that is a search for the dual values, which a few steps of Sinkhorn's iteration bring it near
to: plans of 256 pairs in the plane take a third of the time, of 32 two thirds. ``coupling_batch`` makes several smaller
plans of a batch, which is the same estimator with a smaller minibatch; README says what that costs in distance.

``logit_normal`` draws t in training from that distribution instead of uniformly (times.py; t runs the other way there,
so that the paper's mean is minus ours): below a mean of 0 more of what is seen is noise.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ecosystem.models.guided import Predict
from ecosystem.models.neural import Regression, ScoreFamily
from ecosystem.models.ode import OdeSampler, Sampler
from ecosystem.models.times import LogitNormal
from ecosystem.settings import Positive

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]

WORTH = 32  # pairs, from which preparing the solver's work is cheaper than all of that work
BLUR, STEPS = 0.07, 6  # of the entropy, in mean gains that are missed; of Sinkhorn's iteration


@dataclass(frozen=True)
class FlowMatching(ScoreFamily):
    family: Literal["flow-matching"] = "flow-matching"
    coupling: Literal["minibatch-ot", "independent"] = "minibatch-ot"
    coupling_batch: Positive | None = None  # pairs that the plan is made of at once, at most; null: all of a batch
    logit_normal: LogitNormal | None = None  # of t in training; null: uniform
    sampler: Sampler = OdeSampler()

    def draws(self, x: Tensor, generator: torch.Generator) -> tuple[Tensor, ...]:
        z = torch.randn(x.shape, generator=generator, device=x.device)
        if self.logit_normal is not None:
            return z, self.logit_normal.draw(len(x), generator)
        return z, torch.rand(len(x), generator=generator, device=x.device)

    def coupled(self, x: Tensor, y: Tensor, draws: tuple[Tensor, ...], batch: int) -> tuple[Tensor, ...]:
        if self.coupling == "independent":
            return draws
        z, t = draws
        return z[pair(z, x, y, self.coupling_batch, batch)], t

    def regression(self, x: Tensor, *draws: Tensor) -> Regression:
        z, t = draws
        s = t.reshape(-1, *[1] * (x.ndim - 1))
        return Regression((1 - s) * z + s * x, t, x - z)

    @property
    def samples_in_blocks(self) -> bool:
        return super().samples_in_blocks and isinstance(self.sampler, OdeSampler)  # an adaptive one lets rows go

    def integrate(self, net: Predict, y: Tensor, noise: Tensor) -> Tensor:
        return self.sampler.solve(net, y, noise)


def pair(z: Tensor, x: Tensor, y: Tensor, size: int | None = None, batch: int | None = None) -> Tensor:
    """The permutation (N,) that pairs noise z[p[i]] with x[i] at least total squared distance within classes.

    ``size``: within parts of a class of at most so many; None is all of them in the batch. ``batch``: every so many
    rows are a batch of their own; None is one batch.
    """
    labels = y.cpu().numpy()
    if batch is not None and batch < len(labels):
        labels = labels + np.arange(len(labels)) // batch * (labels.max() + 1)
    order = np.argsort(labels, kind="stable")
    partner = np.empty_like(order)
    x, z = x.flatten(1), z.flatten(1)
    with torch.autocast(x.device.type, enabled=False):  # partners are told by small parts, which bfloat16 lacks
        for rows in _parts(order, np.bincount(labels).tolist(), size or len(order)):
            for own, columns in zip(rows, _assigned(_gains(x, z, rows)), strict=True):
                partner[own] = own[columns]
    return torch.from_numpy(partner).to(z.device)


def _parts(order: Ints, counts: Sequence[int], size: int) -> Iterator[Ints]:
    """Rows, in order of their class, in parts of at most ``size`` of a class: (P, n) for each n there is."""
    found: dict[int, list[Ints]] = {}
    start = 0
    for count in counts:
        for at in range(start, start + count, size):
            part = order[at : min(at + size, start + count)]
            found.setdefault(len(part), []).append(part)
        start += count
    return map(np.stack, found.values())


def _gains(x: Tensor, z: Tensor, rows: Ints) -> Floats:
    """The scalar products (P, n, n) of x (N, D) and z (N, D) within each part of rows (P, n).

    |x - z|^2 = |x|^2 + |z|^2 - 2 x.z, and only the last term depends on who is paired with whom.
    """
    at = torch.from_numpy(rows).to(x.device)
    x, z = x[at], z[at].mT
    found: Floats = x.numpy() @ z.numpy() if x.device.type == "cpu" else (x @ z).cpu().numpy()
    return found


def _assigned(gains: Floats) -> Iterator[Ints]:
    """For each of gains (P, n, n) the column of each row, at the greatest sum; as they are, where none is a number.

    Where several plans are equally good, which of them it is must depend on no other part. So what is computed of a
    part is computed of it alone, by NumPy: torch's batched product has another arithmetic for one part than for many.
    """
    from scipy.optimize import linear_sum_assignment  # late: importing it takes most of a second

    # What a whole column is given moves no optimum, and near the dual solution it spares the solver most of its search.
    ready = gains + _prices(gains) if gains.shape[1] >= WORTH else gains
    for gain in ready:
        if np.isfinite(gain).all():
            yield linear_sum_assignment(gain, maximize=True)[1]
        else:  # nothing to pair; the loss will say what is wrong
            yield np.arange(len(gain))


@np.errstate(all="ignore")
def _prices(gains: Floats) -> NDArray[np.float64]:
    """The columns' dual values (P, 1, n) of entropic transport (M. Cuturi, Sinkhorn Distances: Lightspeed Computation
    of Optimal Transport, 2013, arXiv 1306.0895), nearly. In 64 bits, so that the gains keep all of theirs."""
    parts, n = gains.shape[:2]
    dearest = gains.max(1, keepdims=True)
    k = gains - dearest
    k -= k.max(2, keepdims=True)  # every row and every column now has a 0, and no sum below vanishes
    scale = k.reshape(parts, -1).sum(1).reshape(parts, 1, 1) * np.float32(-BLUR / n**2)
    k /= scale
    np.exp(k, out=k)
    v = 1 / k.sum(1, keepdims=True)
    for _ in range(STEPS):
        u = 1 / (k @ v.transpose(0, 2, 1))
        v = 1 / (u.transpose(0, 2, 1) @ k)
    # Gains near the largest number, and gains that are all the same, have no such values. They need none.
    found: NDArray[np.float64] = np.nan_to_num(
        np.log(v.astype(np.float64)) * scale - dearest, nan=0, posinf=0, neginf=0
    )
    return found
