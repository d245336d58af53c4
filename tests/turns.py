"""What the benches share: pieces of work by turns, their ratio with its spread, and the table that they make together.

Time is that of this process on its core, which neighbours on a busy machine disturb less than the clock's. With
``ECOSYSTEM_WRITE_BENCH=1`` (``make bench`` sets it) all that was shown is written into reports/bench/README.md.
"""

import datetime
import os
import platform
import statistics
import sys
import time
from pathlib import Path

import torch

TABLE = Path(__file__).parent.parent / "reports" / "bench" / "README.md"
SHOWN, FILES = [], set()


def show(what, value, limit):
    sys.stdout.write(f"\n{what:78s} {value:>20s}   (limit {limit})\n")
    SHOWN.append((what, value, limit))
    FILES.add(sys._getframe(1).f_globals["__name__"])


def by_turns(turns, *, clock=time.process_time, **works):
    """Seconds of each piece of work in each turn, by a clock; a first turn is for caches alone."""
    seconds = {name: [] for name in works}
    for turn in range(turns + 1):
        for name, work in works.items():
            began = clock()
            work()
            if turn:
                seconds[name].append(clock() - began)
    return seconds


def ratio(seconds, name, to="ours", times=1.0):
    """How many times as long as ours, by ``times``: the median over turns, and in words with the quartiles."""
    found = [times * other / ours for other, ours in zip(seconds[name], seconds[to], strict=True)]
    low, middle, high = statistics.quantiles(found, n=4)
    return middle, f"{middle:.2f} ({low:.2f}-{high:.2f})"


def write():
    """The table of all that was shown, if anything was."""
    if not SHOWN:
        return
    TABLE.parent.mkdir(exist_ok=True)
    rows = [
        f"| {'&nbsp;' * 2 * (len(what) - len(what.lstrip()))}{what.strip()} | {value} | {limit} |"
        for what, value, limit in SHOWN
    ]
    TABLE.write_text(
        "\n".join(
            [
                "# Measured by `make bench`",
                "",
                "Ratios are to a bare PyTorch loop on the same network, batch and data, by turns in one process on one",
                "thread: medians over turns, with quartiles; above 1 is faster. Written by the command, not by hand.",
                "",
                f"- machine: {processor()}, {os.cpu_count()} cores, {torch.get_num_threads()} thread; "
                f"{'GPU: ' + torch.cuda.get_device_name() if torch.cuda.is_available() else 'no GPU'}",
                f"- torch {torch.__version__}, Python {platform.python_version()}, {datetime.date.today().isoformat()}",
                f"- of: {', '.join(f'tests/{name}.py' for name in sorted(FILES))}",
                "",
                "| what | measured | limit |",
                "|---|---|---|",
                *rows,
                "",
            ]
        ),
        encoding="utf-8",
    )


def processor():
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
