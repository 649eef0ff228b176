"""How often each code was reported where nothing was there; by ``benchmarks/findings.py``."""

#: code -> (runs with a false report, runs)
FALSE_ALARMS: dict[str, tuple[int, int]] = {
    "SKF001": (58, 2000),
    "SKF002": (99, 2000),
    "SKF003": (23, 2000),
    "SKF004": (1, 2000),
    "SKF005": (138, 2000),
    "SKF006": (101, 2000),
    "SKF007": (69, 2000),
    "SKF009": (57, 2000),
    "SKF010": (8, 2000),
    "SKF011": (115, 2000),
    "SKF012": (124, 2000),
    "SKF013": (3, 2000),
    "SKF014": (83, 2000),
    "SKF015": (56, 2000),
    "SKF016": (50, 2000),
}
