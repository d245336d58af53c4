"""The gradients of one batch, with the memory, the compiler and the processes that there are.

Where the memory is full a batch is halved until it fits, and its gradients are added up: the update is of the whole
batch all the same, but for a loss that pairs items within it. A network that cannot be compiled is computed as it is.
Each attempt begins where the first one did, so that what was tried in vain leaves no trace in the draws.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from functools import partial

import torch
from torch import Tensor, nn

from ecosystem import notices
from ecosystem.errors import EcosystemError, TrainingError
from ecosystem.models.execution import Call, Compiled, CompileMode, Precision, autocast, dropout, drops, replaced
from ecosystem.models.team import ALONE, FULL, Team, Trouble, add_up, shared_out

Loss = Callable[[nn.Module, Tensor, Tensor, torch.Generator], Tensor]


class Gradients:
    """Put the gradients of batches into the parameters of ``net``. ``parts``: in how many a batch is computed."""

    def __init__(
        self,
        loss: Loss,
        net: nn.Module,
        generator: torch.Generator,
        precision: Precision = "auto",
        compile: CompileMode = "none",
        team: Team = ALONE,
    ) -> None:
        self.loss, self.net, self.generator, self.team = loss, net, generator, team
        self.precision, self.compile, self.drops = precision, compile, drops(net)
        self.parameters = list(net.parameters())
        self.compiled: list[Compiled] = []
        self.parts = 1

    @contextmanager
    def ready(self) -> Iterator[None]:
        """The network's calls compiled and shared out, where they are to be."""
        with ExitStack() as stack:
            if self.compile != "none":
                stack.enter_context(replaced(self.net, self._compile))
            if self.team.size > 1:
                stack.enter_context(replaced(self.net, partial(shared_out, team=self.team)))
            yield

    def of(self, x: Tensor, y: Tensor, update: int) -> Tensor:
        """The loss of a batch, whose gradients are now those of the parameters."""
        start, parts = self.generator.get_state(), self.parts
        while True:
            for parameter in self.parameters:
                parameter.grad = None
            try:
                value = self._tried(x, y, update)
                break
            except Trouble as trouble:
                self._answer(trouble, len(x))
            # Only now, as what was computed in vain is held by its exception.
            if x.device.type == "cuda":
                torch.cuda.empty_cache()
            self.generator.set_state(start)
        if self.parts > parts:
            notices.say(f"for want of memory the gradients of a batch are computed in {self.parts} parts.")
        if self.team.size > 1:
            add_up(self.net, self.team)
        return value

    def _compile(self, forward: Call) -> Call:
        try:
            self.compiled.append(Compiled(forward, self.compile))
        except Exception as error:  # a Python or a system without torch.compile
            self._tell(error)
            return forward
        return self.compiled[-1]

    def _tried(self, x: Tensor, y: Tensor, update: int) -> Tensor:
        try:
            with dropout(self.generator, update, self.team.rank) if self.drops else nullcontext():
                value = self._in_parts(x, y)
        except Trouble:
            raise
        except Exception as error:
            self.team.agree(error)
            raise
        self.team.agree(None)
        return value

    def _in_parts(self, x: Tensor, y: Tensor) -> Tensor:
        total: Tensor | None = None
        for images, labels in zip(x.chunk(self.parts), y.chunk(self.parts), strict=True):
            if self.compile == "graphs":
                torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]  # what the last replay wrote is no more needed
            with autocast(self.precision, x.device):
                value = self.loss(self.net, images, labels, self.generator)
            if self.parts > 1:
                value = value * (len(images) / len(x))
            value.backward()  # type: ignore[no-untyped-call]
            total = value.detach() if total is None else total + value.detach()
        assert total is not None
        return total

    def _answer(self, trouble: Trouble, items: int) -> None:
        """Let the next attempt go another way. Raises where there is none."""
        if trouble.kind == FULL:
            if self.parts >= items:
                raise TrainingError(
                    "the memory is full, also for one image at a time. A smaller network, or a smaller archive, needs "
                    "less."
                ) from trouble.error
            self.parts *= 2
        elif self._gives_up(trouble.error):
            for call in self.compiled:
                call.given_up = True
            self.compiled = []
            self._tell(trouble.error)
        elif trouble.error is not None:
            raise trouble.error from trouble.error.__cause__
        else:
            raise TrainingError("another process of this training has failed.")

    def _gives_up(self, error: Exception | None) -> bool:
        return bool(self.compiled) and not isinstance(error, EcosystemError)

    def _tell(self, error: Exception | None) -> None:
        why = str(error).strip().splitlines()[0][:120] if error and str(error).strip() else type(error).__name__
        notices.say(f"a network cannot be compiled here and is computed as it is, which is only slower: {why}")
