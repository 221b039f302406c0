"""The pieces of a decoder as functions that add nodes to a `GraphBuilder`: one piece per file.

Each reads its spec and the parameters of the scope it is called in; none knows a family.
"""
