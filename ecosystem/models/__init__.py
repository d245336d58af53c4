"""Generative families. The registry: ``ModelFamily`` lists them all."""

from typing import Annotated

from pydantic import Field

from ecosystem.models.categorical import Categorical
from ecosystem.models.diffusion import Diffusion
from ecosystem.models.flow_matching import FlowMatching
from ecosystem.models.gaussian import Gaussian
from ecosystem.models.kde import Kde
from ecosystem.models.mixture import Mixture

# Fitted at one go: no network, no training budget, no clean-data baseline. (For ``isinstance``, too.)
ClosedForm = Gaussian | Categorical | Kde | Mixture

ModelFamily = Annotated[ClosedForm | FlowMatching | Diffusion, Field(discriminator="family")]

__all__ = ["Categorical", "ClosedForm", "Diffusion", "FlowMatching", "Gaussian", "Kde", "Mixture", "ModelFamily"]
