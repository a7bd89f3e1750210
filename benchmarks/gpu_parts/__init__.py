"""The parts of `benchmarks/gpu.py`, each run in a process of its own."""

WEIGHTS = {  # of each part's share of the time that is left when it starts, in their order
    "right": 1.0,
    "fast": 2.0,
    "peers": 0.7,
    "deep": 1.0,
    "profile": 0.8,
    "speedrun": 5.0,
}
