"""What several families share: the arrangement of layers, config keys and weight names that one of them set.

A layout is no family itself; families start from one and say in which points they differ.
"""
