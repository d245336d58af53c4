"""What a user should hear once, in one line: that memory was short, that a network could not be compiled.

In a program of one's own a notice is a Python warning of the category ``Notice``, to be caught or silenced as others.
The commands show it on standard error, above what is drawn there, and no more than once (``shown``).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


class Notice(UserWarning):
    """Something of a computation that changes no result, but its time, or its last bits."""


def say(text: str) -> None:
    """One line, from whoever has something to tell."""
    warnings.warn(" ".join(text.split()), Notice, stacklevel=2)


@contextmanager
def shown(show: Callable[[str], object]) -> Iterator[None]:
    """Hand notices to ``show`` for a while, each once; other warnings go where they went."""
    told: set[str] = set()
    with warnings.catch_warnings():
        warnings.simplefilter("always", Notice)
        others = warnings.showwarning

        def tell(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
            if not issubclass(category, Notice):
                others(message, category, *where, **more)
            elif str(message) not in told:
                told.add(str(message))
                show(str(message))

        warnings.showwarning = tell
        yield
