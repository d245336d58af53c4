"""Marks: what a page carries that anybody can see, the bits of a uint8.

Nobody's reading of a mark is perfect: how often a watermark is found, or a synthetic page flagged, is a rate of
who looks (``web/admission.py``, ``web/detectors.py``).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Marks = NDArray[np.uint8]

WATERMARKED = np.uint8(1)  # by the provider whose model made it
FLAGGED = np.uint8(2)  # labelled as synthetic by the site it stands on
CLAIMED = np.uint8(4)  # synthetic, and published as human by a creator
