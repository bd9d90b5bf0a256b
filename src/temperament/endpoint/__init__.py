"""Language models behind an OpenAI-compatible endpoint."""

from temperament.endpoint.answer import Answer
from temperament.endpoint.client import Endpoint, Messages, Prices, Settings, Usage

__all__ = ["Answer", "Endpoint", "Messages", "Prices", "Settings", "Usage"]
