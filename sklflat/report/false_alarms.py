"""How often each code was reported where nothing was there; by ``benchmarks/findings.py``."""

#: code -> (runs with a false report, runs)
FALSE_ALARMS: dict[str, tuple[int, int]] = {}
