"""Solvers of dx/dt = v(x, t) from t = 0 to 1, where v is a network.

Fixed steps h = 1 / steps: ``euler``, x + h v; ``midpoint``, x + h v(x + h v / 2, t + h / 2); ``heun``, which averages
the velocities at both ends. Their errors fall with h, h^2 and h^2.

``adaptive`` is the embedded Runge-Kutta pair 5(4) of J. R. Dormand and P. J. Prince, A Family of Embedded Runge-Kutta
Formulae, 1980: six evaluations an attempt give two solutions, of orders 5 and 4, whose difference e tells the error.
With the norm |e| = rms(e / (tolerance (1 + max(|x|, |x'|)))) over an item, an attempt is taken where |e| <= 1, and the
next one is as long as it or the one refused times 0.9 |e|^(-1/5), within 0.2 .. 10; the first is guessed as in E.
Hairer, S. Norsett, G. Wanner, Solving Ordinary Differential Equations I, 1993, II.4. An item alone is solved as
``scipy.integrate.solve_ivp(method="RK45")`` does it, attempt for attempt.

Every row of a batch has its own t and h, and leaves the batch at its end. Solvers that control the step of a batch as
one are not for us: a sample would depend on its neighbours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import annotated_types as at
import torch
from torch import Tensor

from ecosystem.errors import TrainingError
from ecosystem.models.base import everywhere
from ecosystem.models.guided import Predict
from ecosystem.settings import KIND, Positive, Settings, unless_told

# Dormand and Prince: times of the stages, what they are made of, and the weights of the difference of both solutions.
# The last row of A is the solution of order 5, so that its last stage is the first one of the next step.
C = (1 / 5, 3 / 10, 4 / 5, 8 / 9, 1.0, 1.0)
A = (
    (1 / 5,),
    (3 / 40, 9 / 40),
    (44 / 45, -56 / 15, 32 / 9),
    (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
    (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
    (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
)
E = (-71 / 57600, 0.0, 71 / 16695, -71 / 1920, 17253 / 339200, -22 / 525, 1 / 40)


@dataclass(frozen=True)
class OdeSampler(Settings):
    """Fixed-step solver of dx/dt = v; ``steps`` sampler steps (midpoint and heun evaluate the network twice in one)."""

    kind: Literal["euler", "midpoint", "heun"] = "midpoint"
    steps: Positive = 20

    def solve(self, net: Predict, y: Tensor, x: Tensor) -> Tensor:
        """x (N, ...) at t = 0 -> at t = 1."""
        h = 1.0 / self.steps
        for step in range(self.steps):
            t = torch.tensor(step * h, dtype=torch.float32)
            v = net(x, everywhere(t, y), y)
            if self.kind == "midpoint":
                v = net(x + 0.5 * h * v, everywhere(t + 0.5 * h, y), y)
            elif self.kind == "heun":
                v = 0.5 * (v + net(x + h * v, everywhere(t + h, y), y))
            x = x + h * v
        return x


@dataclass(frozen=True)
class AdaptiveSampler(Settings):
    """Dormand-Prince 5(4). ``tolerance``: absolute and relative; ``most_steps``: of a row, attempts included."""

    kind: Literal["adaptive"] = "adaptive"
    tolerance: Annotated[float, at.Ge(1e-6), at.Lt(1.0)] = 1e-4
    most_steps: Positive = 1000

    def solve(self, net: Predict, y: Tensor, x: Tensor) -> Tensor:
        """x (N, ...) at t = 0 -> at t = 1; NaN in the rows whose velocity is no number. Raises TrainingError.

        In 32 bits also where a sampler has 16: it would follow their rounding, which falls with h and not with h^5.
        (Of `flow-matching-digits`, at a tolerance of 1e-5: three times the evaluations, and 3.5 times the error.)
        """
        with torch.autocast(x.device.type, enabled=False):
            return _Rows(net, y, x, self.tolerance).solved(self.most_steps)


Sampler = Annotated[OdeSampler | AdaptiveSampler, KIND, unless_told("midpoint")]


class _Rows:
    """The rows under way: x, prompts y, time t, next step h, velocity v and whether the last attempt was refused."""

    def __init__(self, net: Predict, y: Tensor, x: Tensor, tolerance: float) -> None:
        self.net, self.tolerance = net, tolerance
        self.solution = torch.empty_like(x)
        self.number = torch.arange(len(x), device=x.device)
        self.x, self.y = x, y
        self.t = torch.zeros(len(x), dtype=torch.float64, device=x.device)
        self.v = self._velocity(x, self.t)
        self.h = self._first()
        self.refused = torch.zeros(len(x), dtype=torch.bool, device=x.device)

    def solved(self, most_steps: int) -> Tensor:
        for _ in range(most_steps):
            self._leave()
            if not len(self.x):
                return self.solution
            self._attempt()
        self._leave()
        if len(self.x):
            raise TrainingError(
                f"the adaptive sampler is not at its end after {most_steps:,} steps: of {len(self.solution):,} "
                f"sample(s), {len(self.x):,} came no further than t = {float(self.t.min()):.3g}. Raise its `tolerance` "
                f"of {self.tolerance:g} or its `most_steps`, or train for longer: a rough velocity needs tiny steps."
            )
        return self.solution

    def _attempt(self) -> None:
        after = (self.t + self.h).clamp(max=1.0)
        h = after - self.t
        stages, x = [self.v], self.x
        for c, weights in zip(C, A, strict=True):
            x = self.x + self._long(h) * _sum(weights, stages)
            stages.append(self._velocity(x, self.t + c * h))
        error = self._norm(self._long(h) * _sum(E, stages), torch.maximum(self.x.abs(), x.abs()))
        good = error <= 1  # not where it is no number
        factor = (0.9 * error.nan_to_num(torch.inf).pow(-1 / 5)).clamp(0.2, 10.0)
        self.h = h * torch.where(self.refused, factor.clamp(max=1.0), factor)  # none grows right behind a refused one
        self.t = torch.where(good, after, self.t)
        self.x, self.v = (torch.where(self._long(good), new, old) for new, old in ((x, self.x), (stages[-1], self.v)))
        self.refused = ~good

    def _leave(self) -> None:
        """Rows at their end leave, and so do those that have come to where there is no velocity."""
        lost = ~self.v.flatten(1).isfinite().all(1)
        ended = lost | (self.t >= 1)
        if not bool(ended.any()):
            return
        self.solution[self.number[ended]] = torch.where(self._long(lost), torch.nan, self.x)[ended]
        for name in ("number", "x", "y", "t", "v", "h", "refused"):
            setattr(self, name, getattr(self, name)[~ended])

    def _first(self) -> Tensor:
        """The first step: from |x|, |v| and how v changes along a short step."""
        size, speed = (self._norm(a, self.x.abs()) for a in (self.x, self.v))
        short = torch.where((size < 1e-5) | (speed < 1e-5), 1e-6, 0.01 * size / speed).clamp(max=1.0)
        moved = self._velocity(self.x + self._long(short) * self.v, short)
        change = self._norm(moved - self.v, self.x.abs()) / short
        most = torch.maximum(speed, change)
        guess = torch.where(most <= 1e-15, (1e-3 * short).clamp(min=1e-6), (0.01 / most).pow(1 / 5))
        return torch.minimum(100 * short, guess).clamp(max=1.0)

    def _velocity(self, x: Tensor, t: Tensor) -> Tensor:
        return self.net(x, t.to(x.dtype), self.y)

    def _norm(self, a: Tensor, extent: Tensor) -> Tensor:
        """(N,) float64: the root mean square of a in units of what is tolerated at |x| = extent."""
        return (a / (self.tolerance * (1 + extent))).flatten(1).double().square().mean(1).sqrt()

    def _long(self, a: Tensor) -> Tensor:
        """(N,) beside (N, ...)."""
        a = a if a.dtype == torch.bool else a.to(self.x.dtype)
        return a.reshape(-1, *[1] * (self.x.ndim - 1))


def _sum(weights: tuple[float, ...], stages: list[Tensor]) -> Tensor:
    total = weights[0] * stages[0]
    for weight, stage in zip(weights[1:], stages[1:], strict=False):
        total = total + weight * stage
    return total
