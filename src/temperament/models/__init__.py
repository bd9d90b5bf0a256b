"""Language models as methods see them: weights, Linear inputs, MLP activations under family-independent names."""

from temperament.models.architecture import FAMILIES, Family, InputSite, LinearSite, NeuronSite
from temperament.models.load import LoadedModel, load_model

__all__ = ["FAMILIES", "Family", "InputSite", "LinearSite", "NeuronSite", "LoadedModel", "load_model"]
