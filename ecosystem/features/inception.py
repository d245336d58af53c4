"""``inception``: the 2,048 pooled features of Inception-v3, on which the Fréchet distance is the FID.

C. Szegedy et al., Rethinking the Inception Architecture for Computer Vision, 2015, arXiv 1512.00567; M. Heusel et al.,
GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash Equilibrium, 2017, arXiv 1706.08500. The
network is the TorchScript file that clean-fid fetches, and images are resized as its mode `clean` does (G. Parmar,
R. Zhang, J.-Y. Zhu, On Aliased Resizing and Surprising Subtleties in GAN Evaluation, 2022, arXiv 2104.11222): by
Pillow's bicubic filter to 299x299, in floats, cut to [0, 255] and not rounded. A resize is linear in the rows and in
the columns,

    y = A x B^T,  cut to [0, 255],   A: (299, H), B: (299, W)

and A is what Pillow makes of the identity; so the device does in two products what Pillow would do image by image.
A grey image is looked at as three equal channels.

TorchScript is code, so the file is run only if its sha256 is the published one, or one that the user states beside it
(``weights.known``).
"""

from __future__ import annotations

import http.client
import os
import shutil
import tempfile
import urllib.request
import warnings
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from ecosystem.errors import DataError
from ecosystem.features import stored
from ecosystem.features.base import Features, Floats
from ecosystem.features.weights import Weights, find, folder, known

NAME = "inception"
FILE = "inception-2015-12-05.pt"
# As K. Crowson's k-diffusion pins it for the address that clean-fid fetches it from.
SHA256 = "f58cb9b6ec323ed63459aa4fb441fe750cfe39fafad6da5cb504a16f19e958f4"
SIDE = 299  # pixels
FEATURES = 2048
BLOCK = {"cpu": 16, "cuda": 128}  # images a forward pass
SECONDS = 60  # without a byte, after which a download is given up


class Inception(Features):
    name = NAME

    def __init__(self, device: torch.device) -> None:
        weights = found()
        self.weights = weights.sha256
        self._net, self._device = _network(weights, device), device

    def of(self, x: NDArray[Any]) -> Floats:
        blocks = torch.split(torch.from_numpy(np.ascontiguousarray(x)), BLOCK.get(self._device.type, 16))
        found = [_of_block(self._net, block.to(self._device)).double().cpu() for block in blocks if len(block)]
        return torch.cat([torch.empty(0, FEATURES, dtype=torch.float64), *found]).numpy()

    def of_humans(self, x: NDArray[Any]) -> Floats:
        return stored.recalled(x, f"{NAME} {self.weights}", self._device, self.of)


@torch.no_grad()
def _of_block(net: Any, x: Tensor) -> Tensor:
    """Images (N, 1 or 3, H, W) uint8 -> (N, 2048)."""
    # Without the optimiser of TorchScript the first blocks have the bits of all others.
    with torch.jit.optimized_execution(False):  # type: ignore[attr-defined]
        found: Tensor = net(resized(x).expand(-1, 3, -1, -1))
    return found


def resized(x: Tensor) -> Tensor:
    """(N, C, H, W) uint8 -> (N, C, 299, 299) in [0, 255], as clean-fid resizes."""
    rows, columns = (torch.from_numpy(_bicubic(side)).to(x.device) for side in x.shape[2:])
    return F.linear(F.linear(x.float().transpose(2, 3), rows).transpose(2, 3), columns).clamp_(0, 255)


@lru_cache(maxsize=8)
def _bicubic(side: int) -> NDArray[np.float32]:
    """What Pillow's bicubic resize multiplies a column of pixels with, (299, side)."""
    columns = Image.fromarray(np.eye(side, dtype=np.float32)).resize((SIDE, side), Image.Resampling.BICUBIC)
    return np.ascontiguousarray(np.asarray(columns).T)


@lru_cache(maxsize=2)
def _network(weights: Weights, device: torch.device) -> Any:
    """The file as clean-fid runs it: (N, 3, 299, 299) in [0, 255] -> (N, 2048). Raises DataError."""
    from cleanfid.inception_torchscript import InceptionV3W

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # torch would have other formats; this one is the published
            net = InceptionV3W(str(weights.path.parent), download=False).to(device).eval()
        found = _of_block(net, torch.zeros((1, 3, SIDE, SIDE), dtype=torch.uint8, device=device))
        good = found.shape == (1, FEATURES) and bool(found.isfinite().all())
    except Exception as error:  # what TorchScript says of a file that is none, and of one that is another network
        raise _wrong(weights, str(error)) from error
    if not good:
        raise _wrong(weights, f"it makes {tuple(found.shape)} of an image, not (1, {FEATURES}) numbers")
    return net


def _wrong(weights: Weights, why: str) -> DataError:
    return DataError(
        f"weights: {weights.path} is not clean-fid's Inception ({' '.join(why.split())[:200]}).\n"
        "Remedy: take it away, and it is fetched again."
    )


def found() -> Weights:
    """The file, fetched where it is missing. Raises DataError."""
    return known(find([FILE]) or _download(folder()), SHA256)


def _download(into: Path) -> Path:
    """From where clean-fid has it; whole or not at all, and only the published file."""
    from cleanfid.downloads_helper import inception_url

    try:
        into.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=into, suffix=".part")
        part = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as file, urllib.request.urlopen(inception_url, timeout=SECONDS) as sent:
                shutil.copyfileobj(sent, file)
            known(part, SHA256)
            return part.replace(into / FILE)
        finally:
            part.unlink(missing_ok=True)
    except (OSError, http.client.HTTPException) as error:
        raise DataError(
            f"weights: there is no {FILE} in {into}, and it cannot be fetched from {inception_url} ({error}).\n"
            "Remedy: let the network be reached once; or point the environment variable ECOSYSTEM_WEIGHTS at a "
            "folder that holds it."
        ) from error
