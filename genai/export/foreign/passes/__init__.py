"""Passes over graphs that other exporters made: they rewrite what they can prove, and report the rest."""

from genai.export.foreign.passes.apply import PASS_NAMES, PassReport, apply_passes

__all__ = ["PASS_NAMES", "PassReport", "apply_passes"]
