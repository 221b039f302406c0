"""What is read: a checkpoint's files and config.json, and its weights as views that are decoded while they are read.

Knows no architecture: which parameters there have to be, and how they are shaped, its callers say.
"""
