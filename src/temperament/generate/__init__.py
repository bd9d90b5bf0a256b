"""Text from a model in whatever it wears."""

from temperament.generate.batch import generate
from temperament.generate.chat import Message, chat

__all__ = ["Message", "chat", "generate"]
