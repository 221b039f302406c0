"""Corpus, training and evaluation of genai's demo model; driven by scripts/train_demo.py."""
