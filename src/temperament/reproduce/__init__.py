"""The papers' tables for the model at hand: the same rows and columns, the paper's figures apart, controls beside."""

from temperament.reproduce.run import TABLES, reproduce
from temperament.reproduce.settings import Settings
from temperament.reproduce.table import Reproduced

__all__ = ["TABLES", "Reproduced", "Settings", "reproduce"]
