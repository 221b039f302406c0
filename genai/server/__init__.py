"""The server: HTTP interfaces of several makers over the models of one process.

Knows the wire's bodies, generators and HTTP; decides which model answers, who may ask, and what an error looks like. What is
generated, and how, is the generator's business. Imported only by `genai serve`, with the `serve` extra.
"""

from __future__ import annotations

from genai.server.access_log import log_to_stderr
from genai.server.app import make_app
from genai.server.models import LoadLimits, ServedModels
from genai.server.run import listen, run_server
from genai.server.settings import ServerSettings

__all__ = [
    "LoadLimits",
    "ServedModels",
    "ServerSettings",
    "listen",
    "log_to_stderr",
    "make_app",
    "run_server",
]
