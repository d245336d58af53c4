"""Many networks of one make, computed as one: the values and the gradients of S ``nets.MLP`` by batched products.

A small network spends its time between the operations, on Python and on autograd's bookkeeping. So here the S networks
lie in one table (S, P), the values of a batch in buffers that are kept, and the gradient is written out by hand: some
seventy operations an update, however many networks there are. (``torch.func`` stacks any network, by vmap of a
functional call; this one is of a known shape, so that it needs no compiler to be fast.)

A network's numbers do not depend on which others are computed beside it: products are batched by network, each
network's part of a table begins where the alignment of memory is the same, and the rows of a batch are filled up to a
multiple of ``ROWS``, so that none of its numbers falls into the remainder that vectorised loops compute in another way.
On a CPU they are the same to the last bit (test_stacks.py), on other devices to rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from ecosystem.models.nets import FREQUENCIES, MLP

ROWS = 32  # a batch is filled up to a multiple of so many rows, a parameter to one of so many numbers

Product = Callable[[], object]

_silu = torch.ops.aten.silu.out
_silu_backward = torch.ops.aten.silu_backward.grad_input


def filled(count: int) -> int:
    """The next multiple of ROWS."""
    return -(-count // ROWS) * ROWS


class Layout:
    """Where each parameter of a network lies in its row of a table (S, ``numbers``)."""

    def __init__(self, net: MLP) -> None:
        self.shapes = {name: parameter.shape for name, parameter in net.named_parameters()}
        self.starts: dict[str, int] = {}
        self.numbers = 0
        for name, shape in self.shapes.items():
            self.starts[name] = self.numbers
            self.numbers += filled(shape.numel())

    def views(self, table: Tensor) -> dict[str, Tensor]:
        """Each parameter (S, ...) by its name, as views of a table."""
        return {
            name: table[:, start : start + shape.numel()].view(-1, *shape)
            for (name, shape), start in zip(self.shapes.items(), self.starts.values(), strict=True)
        }

    def table(self, parameters: Sequence[Mapping[str, Tensor]], dtype: torch.dtype, device: torch.device) -> Tensor:
        """A new table (S, P) of networks, given by their parameters; of one without any it holds zeros."""
        table = torch.zeros(len(parameters), self.numbers, dtype=dtype, device=device)
        views = self.views(table)
        for member, own in enumerate(parameters):
            for name, view in views.items():
                if own:
                    view[member].copy_(own[name].detach())
        return table


class MLPs:
    """The networks of a table (S, P), asked at ``rows`` places each; ``rows`` is a multiple of ROWS.

    What they are asked at is written into ``x`` (S, rows, D), ``times`` (S, rows) and ``labels`` (S, rows), the slope
    of a loss by their answers into ``slope`` (S, rows, D). With ``learns`` the values in between are kept, and
    ``backward`` writes gradients into the table ``gradient``.
    """

    def __init__(self, net: MLP, table: Tensor, rows: int, learns: bool) -> None:
        self.layout, self.members, self.rows = Layout(net), len(table), rows
        self.size, self.width = net.enter.in_features, net.enter.out_features
        self.depth, self.classes = len(net.blocks), net.label.num_embeddings
        self.table, self.learns = table, learns
        self.frequencies = net.frequencies.to(table.dtype)
        p = self.parameters = self.layout.views(table)
        self.x, self.slope, self._out = (self._values(self.size) for _ in range(3))
        self.times, self.labels = self._values(), self._values().long()
        self._offsets = torch.arange(self.members, device=table.device)[:, None] * self.classes
        self._angles, self._waves = self._values(FREQUENCIES), self._values(2 * FREQUENCIES)
        self._condition, self._labels, self._last = (self._values(self.width) for _ in range(3))
        kept = self.depth if learns else 1
        self._h = [self._values(self.width) for _ in range(1 + (self.depth if learns else 0))]
        self._a, self._sa, self._u, self._su = ([self._values(self.width) for _ in range(kept)] for _ in range(4))
        self._enter = product(self.x, p["enter.weight"].mT, self._h[0])
        self._sines = sines(self._angles, self._waves)
        self._time = product(self._waves, p["time.weight"].mT, self._condition)
        self._leave = product(self._last, p["leave.weight"].mT, self._out)
        self._blocks: list[_Block] = []
        for block in range(self.depth):
            of = block if learns else 0
            inner, outer = (p[f"blocks.{block}.{name}.weight"].mT for name in ("inner", "outer"))
            after = self._h[block + 1 if learns else 0]
            made = self._values(self.width) if block == 0 else self._blocks[0].added
            self._blocks.append(
                _Block(
                    self._a[of],
                    self._sa[of],
                    self._u[of],
                    self._su[of],
                    product(self._sa[of], inner, self._u[of]),
                    product(self._su[of], outer, made),
                    p[f"blocks.{block}.inner.bias"].unsqueeze(1),
                    p[f"blocks.{block}.outer.bias"].unsqueeze(1),
                    made,
                    after,
                )
            )
        if learns:
            self.gradient = torch.zeros_like(table)
            self._prepare()

    @np.errstate(invalid="ignore", over="ignore")  # a loss that is no number is told of where it is looked at
    def forward(self, everywhere: Tensor | None = None) -> Tensor:
        """What they answer, (S, rows, D), until the next call. ``everywhere``: the time of all rows, if it is one."""
        condition, p, h = self._conditioned(everywhere), self.parameters, self._h[0]
        self._enter()
        h.add_(p["enter.bias"].unsqueeze(1))
        for block in self._blocks:
            torch.add(h, condition, out=block.a)
            _silu(block.a, out=block.sa)
            block.inner()
            _silu(block.u.add_(block.inner_bias), out=block.su)
            block.outer()
            h = torch.add(h, block.added.add_(block.outer_bias), out=block.after)
        _silu(h, out=self._last)
        self._leave()
        return self._out.add_(p["leave.bias"].unsqueeze(1))

    @np.errstate(invalid="ignore", over="ignore")
    def backward(self) -> None:
        """The gradients of what has the derivative ``slope`` by the last answers."""
        dh, ds, da, dc = self._dh, self._ds, self._da, self._dc
        self._learn("leave", self.slope)
        self._back["leave"]()
        _silu_backward(ds, self._h[self.depth], grad_input=dh)
        for block in reversed(range(self.depth)):
            inner, outer = f"blocks.{block}.inner", f"blocks.{block}.outer"
            self._learn(outer, dh)
            self._back[outer]()
            _silu_backward(ds, self._u[block], grad_input=da)
            self._learn(inner, da)
            self._back[inner]()
            _silu_backward(ds, self._a[block], grad_input=da)
            if block == self.depth - 1:
                dc.copy_(da)
            else:
                dc.add_(da)
            dh.add_(da)
        self._learn("enter", dh)
        self._gradients["enter.weight"].copy_(self._turned.mT)
        self._learn("time", dc)
        if self.classes == 1:
            self._gradients["label.weight"].copy_(self._gradients["time.bias"].unsqueeze(1))
        else:
            every = torch.zeros(self.members * self.classes, self.width, dtype=dc.dtype, device=dc.device)
            every.index_add_(0, (self.labels + self._offsets).flatten(), dc.flatten(0, 1))
            self._gradients["label.weight"].copy_(every.view(self.members, self.classes, self.width))

    def _prepare(self) -> None:
        """What ``backward`` needs: buffers, and its products."""
        p, g = self.parameters, self.layout.views(self.gradient)
        self._gradients = g
        dh, ds, da, dc = self._dh, self._ds, self._da, self._dc = [self._values(self.width) for _ in range(4)]
        # The first layer's is computed turned over: libraries are slow where a result is narrow.
        self._turned = torch.empty(self.members, self.size, self.width, dtype=dh.dtype, device=dh.device)
        self._of_weights = {
            "leave": product(self.slope.mT, self._last, g["leave.weight"]),
            "enter": product(self.x.mT, dh, self._turned),
            "time": product(dc.mT, self._waves, g["time.weight"]),
        }
        self._back = {"leave": product(self.slope, p["leave.weight"], ds)}
        for block in range(self.depth):
            inner, outer = f"blocks.{block}.inner", f"blocks.{block}.outer"
            self._of_weights[outer] = product(dh.mT, self._su[block], g[f"{outer}.weight"])
            self._of_weights[inner] = product(da.mT, self._sa[block], g[f"{inner}.weight"])
            self._back[outer] = product(dh, p[f"{outer}.weight"], ds)
            self._back[inner] = product(da, p[f"{inner}.weight"], ds)

    def _conditioned(self, everywhere: Tensor | None) -> Tensor:
        """What class and time say to every block, (S, rows, W) or, where that is one for all rows, (S, 1, W)."""
        p, bias = self.parameters, self.parameters["time.bias"].unsqueeze(1)
        if everywhere is None:
            torch.mul(self.times.unsqueeze(2), self.frequencies, out=self._angles)
            self._sines()
            self._time()
            told = self._condition.add_(bias)
        else:
            angles = self.frequencies * everywhere
            told = (p["time.weight"] * torch.cat([angles.sin(), angles.cos()])).sum(2).unsqueeze(1).add_(bias)
        if self.classes == 1:
            return told.add_(p["label.weight"])
        table = p["label.weight"].reshape(self.members * self.classes, self.width)
        torch.index_select(table, 0, (self.labels + self._offsets).flatten(), out=self._labels.view(-1, self.width))
        return torch.add(told, self._labels, out=self._condition)

    def _learn(self, name: str, slope: Tensor) -> None:
        """The gradients of a linear layer, from those of what it answered."""
        self._of_weights[name]()
        torch.sum(slope, 1, out=self._gradients[f"{name}.bias"])

    def _values(self, *shape: int) -> Tensor:
        """What a batch has of something, (S, rows, ...), all numbers 0."""
        return torch.zeros(self.members, self.rows, *shape, dtype=self.table.dtype, device=self.table.device)


@dataclass(frozen=True, eq=False)
class _Block:
    """``nets.Block``: what it computes on its way, its two products, and their biases."""

    a: Tensor
    sa: Tensor
    u: Tensor
    su: Tensor
    inner: Product
    outer: Product
    inner_bias: Tensor
    outer_bias: Tensor
    added: Tensor
    after: Tensor


def product(a: Tensor, b: Tensor, out: Tensor) -> Product:
    """To be called: a (S, m, k) times b (S, k, n), into ``out``. The three stay where they are.

    NumPy computes one product after the other, so that none depends on how many there are; torch's batched product has
    another arithmetic for one than for several, where they are narrow.
    """
    if out.device.type != "cpu":
        return partial(torch.bmm, a, b, out=out)
    return partial(np.matmul, a.numpy(), b.numpy(), out=out.numpy())


def sines(angles: Tensor, out: Tensor) -> Product:
    """To be called: the sines of angles (S, m, F) and behind them their cosines, into ``out`` (S, m, 2 F).

    NumPy's take a third of the time of torch's.
    """
    count = angles.shape[-1]
    sine, cosine = out[..., :count], out[..., count:]
    if out.device.type != "cpu":
        return lambda: (torch.sin(angles, out=sine), torch.cos(angles, out=cosine))
    return lambda: (np.sin(angles.numpy(), out=sine.numpy()), np.cos(angles.numpy(), out=cosine.numpy()))
