"""Benchmarks: ``make bench``, or ``python -m bench [scenario…]``. ``docs/performance.md`` describes the scenarios."""
