"""Benchmarks: speed, size, memory and effect on the embedded model. ``make bench`` runs all and prints one table."""
