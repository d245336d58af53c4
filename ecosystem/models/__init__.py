"""Generative families. The registry: ``ModelFamily`` lists them all."""

from typing import Annotated

from pydantic import Field

from ecosystem.models.diffusion import Diffusion
from ecosystem.models.flow_matching import FlowMatching
from ecosystem.models.gaussian import Gaussian

ModelFamily = Annotated[Gaussian | FlowMatching | Diffusion, Field(discriminator="family")]

__all__ = ["Diffusion", "FlowMatching", "Gaussian", "ModelFamily"]
