"""`genai providers`: what this machine can run on, and what the rest lacks."""

from __future__ import annotations

from genai.cli.command import command
from genai.cli.options import JsonFlag
from genai.cli.output import format_table, print_json, print_result

__all__ = ["providers"]


@command("genai providers", "genai providers --json")
def providers(*, json: JsonFlag = False) -> None:
    """List what this machine can run on.

    Execution providers come in the order in which `--provider auto` tries them, with the reason why not.
    """
    from genai.runtime import provider_statuses

    statuses = provider_statuses()
    chosen = next((s.provider.name for s in statuses if s.available and s.provider.auto), None)
    if json:
        print_json(
            {
                "auto": chosen,
                "providers": [
                    {
                        "name": status.provider.name,
                        "ort_name": status.provider.ort_name,
                        "available": status.available,
                        "reason": status.reason,
                        "package": status.provider.package,
                    }
                    for status in statuses
                ],
            }
        )
        return
    rows = [
        [
            status.provider.name + (" (auto)" if status.provider.name == chosen else ""),
            "yes" if status.available else "no",
            status.reason,
        ]
        for status in statuses
    ]
    print_result(format_table(["PROVIDER", "AVAILABLE", "WHY"], rows))
