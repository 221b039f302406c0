"""Engines side by side, each in a process of its own: what `compare_peers.py` and `measure_quality.py` share."""
