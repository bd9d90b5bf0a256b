"""Signatures: what each pole of a contrast does to the inputs of a model's Linears, as mergeable statistics."""

from temperament.signatures.collect import collect
from temperament.signatures.collect_neurons import Writing, collect_neurons
from temperament.signatures.collect_saliency import collect_saliency
from temperament.signatures.neuron_store import load_neuron_signatures, save_neuron_signatures
from temperament.signatures.neurons import NeuronSignaturePair
from temperament.signatures.pair import Pair
from temperament.signatures.saliency import SaliencyPair
from temperament.signatures.saliency_store import find_saliency, load_saliency
from temperament.signatures.signature import Signature, SignaturePair
from temperament.signatures.statistics import Moments
from temperament.signatures.store import load_signatures, save_signatures

__all__ = [
    "Moments",
    "NeuronSignaturePair",
    "Pair",
    "SaliencyPair",
    "Signature",
    "SignaturePair",
    "Writing",
    "collect",
    "collect_neurons",
    "collect_saliency",
    "find_saliency",
    "load_neuron_signatures",
    "load_saliency",
    "load_signatures",
    "save_neuron_signatures",
    "save_signatures",
]
