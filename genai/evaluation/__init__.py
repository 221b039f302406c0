"""Whether a model folder is whole and computes what its checkpoint computes.

`check_folder` needs nothing but the runtime; comparing with a checkpoint (`validate_folder(..., against=...)`) needs
torch and transformers, which only `genai.evaluation.reference` imports.
"""

from genai.evaluation.checklist import provider_that_runs
from genai.evaluation.manifest_entry import record, record_report
from genai.evaluation.report import Check, Report
from genai.evaluation.validate import check_folder, find_reference, validate_folder

__all__ = [
    "Check",
    "Report",
    "check_folder",
    "find_reference",
    "provider_that_runs",
    "record",
    "record_report",
    "validate_folder",
]
