"""How cost grows with work: what `scripts/measure_growth.py` measures, predicts and shows."""
