"""Signatures: what each pole of a contrast does to the inputs of a model's Linears, as mergeable statistics."""

from temperament.signatures.collect import collect
from temperament.signatures.signature import Signature, SignaturePair
from temperament.signatures.statistics import Moments
from temperament.signatures.store import load_signatures, save_signatures

__all__ = ["Moments", "Signature", "SignaturePair", "collect", "load_signatures", "save_signatures"]
