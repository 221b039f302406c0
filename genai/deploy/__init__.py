"""What a model folder becomes where genai is not: a static web page, a model repository for Triton.

It reads a model folder and its graph's inputs and outputs, and writes files. It knows no sessions, and nothing of how
a folder was made.
"""

from __future__ import annotations

from genai.deploy.triton import check_triton_target, write_triton_repository
from genai.deploy.web import check_web_target, write_web_page

__all__ = ["check_triton_target", "check_web_target", "write_triton_repository", "write_web_page"]
