"""Generative families. The registry: ``ModelFamily`` lists them all."""

from typing import Annotated

from pydantic import Field

from ecosystem.models.categorical import Categorical
from ecosystem.models.diffusion import Diffusion
from ecosystem.models.edm import Edm
from ecosystem.models.flow_matching import FlowMatching
from ecosystem.models.gaussian import Gaussian
from ecosystem.models.kde import Kde
from ecosystem.models.mixture import Mixture
from ecosystem.models.normalizing_flow import NormalizingFlow
from ecosystem.models.pretrained import Pretrained
from ecosystem.models.vae import Vae

# Fitted at one go: no network, no training budget, no clean-data baseline. (For ``isinstance``, too.)
ClosedForm = Gaussian | Categorical | Kde | Mixture

ModelFamily = Annotated[
    ClosedForm | FlowMatching | Diffusion | Edm | NormalizingFlow | Vae | Pretrained, Field(discriminator="family")
]

__all__ = [
    "Categorical",
    "ClosedForm",
    "Diffusion",
    "Edm",
    "FlowMatching",
    "Gaussian",
    "Kde",
    "Mixture",
    "ModelFamily",
    "NormalizingFlow",
    "Pretrained",
    "Vae",
]
