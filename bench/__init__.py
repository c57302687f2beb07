"""Benchmarks: ``python -m bench [scenario…]``, or ``make bench``. Each scenario measures a ratio or a bound."""
