"""Signatures: what each pole of a contrast does to the inputs of a model's Linears, as mergeable statistics."""

from temperament.signatures.collect import collect
from temperament.signatures.collect_neurons import Writing, collect_neurons
from temperament.signatures.collect_saliency import collect_saliency
from temperament.signatures.collect_states import collect_states
from temperament.signatures.neuron_store import load_neuron_signatures, save_neuron_signatures
from temperament.signatures.neurons import NeuronSignaturePair
from temperament.signatures.pair import Pair
from temperament.signatures.saliency import SaliencyPair
from temperament.signatures.saliency_store import find_saliency, load_saliency
from temperament.signatures.signature import Signature, SignaturePair, union
from temperament.signatures.state_store import load_states, save_states
from temperament.signatures.states import StatePair, States, StateSignature
from temperament.signatures.statistics import Moments
from temperament.signatures.store import load_signatures, save_signatures

__all__ = [
    "Moments",
    "NeuronSignaturePair",
    "Pair",
    "SaliencyPair",
    "Signature",
    "SignaturePair",
    "StatePair",
    "StateSignature",
    "States",
    "Writing",
    "collect",
    "collect_neurons",
    "collect_saliency",
    "find_saliency",
    "collect_states",
    "load_neuron_signatures",
    "load_saliency",
    "load_signatures",
    "load_states",
    "save_neuron_signatures",
    "save_signatures",
    "save_states",
    "union",
]
