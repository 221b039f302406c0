"""`python -m genai` is `genai`."""

from genai.cli import main

main()
