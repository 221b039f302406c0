"""Which format and which reasoning a chat template shows: templates reduced to the texts that published ones have."""

from __future__ import annotations

import pytest

from genai.text import ChatTemplate
from genai.tools import FORMATS, find_format, find_reasoning, opens_reasoning

TEMPLATES = {
    "Qwen 2.5": ('\'<tool_call>\\n{"name": "\' + tool_call.name', "hermes", None),
    "Qwen 3": ("<tool_call> {{ content.split('</think>')[-1] }} <think>\n\n</think>", "hermes", "<think>"),
    "Qwen 3 Coder": ("<tool_call>\n<function=example>\n<parameter=a>\n</function>", "qwen3-coder", None),
    "Granite 4": ("<|start_of_role|>assistant<|end_of_role|><tool_call>\n", "hermes", None),
    "Granite 3.3": (
        "<|start_of_role|> <|tool_call|> <think></think><response></response>",
        "granite",
        "<think>",
    ),
    "Functionary 3.1": ("<function=example_function_name>{{ '{\"a\": 1}' }}</function>", "functionary", None),
    "Llama 3.1": ("<|start_header_id|> <|python_tag|> '\"parameters\": '", "llama3", None),
    "Llama 3.2": ('<|start_header_id|> {"name": function name, "parameters": dictionary}', "llama3", None),
    "Llama 3.2 pythonic": ("<|start_header_id|> [func_name1(params_name1=params_value1)]", "pythonic", None),
    "Llama 4": ("<|header_start|> <|python_start|> <|python_end|>", "pythonic", None),
    "LFM 2.5": ('"<|tool_call_start|>[" + calls + "]<|tool_call_end|>" <think></think>', "lfm2", "<think>"),
    "Mistral Small 3.1": ("[AVAILABLE_TOOLS] [TOOL_CALLS] [", "mistral", None),
    "Magistral": ("[TOOL_CALLS]name[ARGS] [THINK] [/THINK]", "mistral-named", "[THINK]"),
    "Phi-4-mini": ("'<|tool|>' + message['tools'] + '<|/tool|>'", "phi4", None),
    "Command R7B": ("<|START_THINKING|> <|START_ACTION|>", "command", "<|START_THINKING|>"),
    "DeepSeek R1": (
        "'<｜tool▁call▁begin｜>' + type + '<｜tool▁sep｜>' + name + '\\n```json\\n' </think>",
        "deepseek-v3",
        "<think>",
    ),
    "DeepSeek V3.1": (
        "'<｜tool▁call▁begin｜>'+ name + '<｜tool▁sep｜>' </think>",
        "deepseek-v3.1",
        "<think>",
    ),
    "Kimi K2": ("<|im_middle|> <|tool_calls_section_begin|><|tool_call_begin|>", "kimi", None),
    "GLM 4.6": ("<tool_call>{name}\n<arg_key>a</arg_key> <think></think>", "glm", "<think>"),
    "MiniMax M2": ("'<minimax:tool_call>' <think>\n</think>", "minimax", "<think>"),
    "FunctionGemma": ("<start_function_declaration> <start_function_call>call:", "function-gemma", None),
    "Gemma 4": ("'<|tool_call>call:' <|channel>thought\n<channel|>", "gemma4", "<|channel>thought"),
    "gpt-oss": (
        "<|start|>assistant<|channel|>analysis<|message|>",
        "harmony",
        "<|channel|>analysis<|message|>",
    ),
    "Seed-OSS": ("<seed:think> <function=x> <parameter=y>", "qwen3-coder", "<seed:think>"),
    "SmolLM 2": ("<|im_start|>{{ message.content }}<|im_end|>", None, None),
}

CALLS = "{% for m in messages %}{% for c in m.tool_calls or [] %}{{ ARGUMENTS }}{% endfor %}{% endfor %}"


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_format_is_found_by_what_the_template_shows(name: str) -> None:
    template, expected, begin = TEMPLATES[name]
    found, reasoning = find_format(template), find_reasoning(template)
    assert (found and found.name) == expected
    assert (reasoning and reasoning.begin) == begin


def test_every_format_is_found_by_something() -> None:
    named = {expected for _, expected, _ in TEMPLATES.values()} | {"generic"}
    assert named - {None} == {each.name for each in FORMATS}
    assert len({each.name for each in FORMATS}) == len(FORMATS)


@pytest.mark.parametrize(
    ("end", "is_open"),
    [("<think>\n", True), ("<think>", True), ("<think>\n\n</think>\n\n", False), ("", False)],
)
def test_prompts_that_begin_the_reasoning(end: str, is_open: bool) -> None:
    reasoning = find_reasoning("</think>")
    assert reasoning is not None
    assert opens_reasoning(reasoning, f"<|im_start|>assistant\n{end}") == is_open


@pytest.mark.parametrize(
    ("source", "place", "takes_objects"),
    [
        ("{{ tools | tojson if tools }}" + CALLS.replace("ARGUMENTS", "c | tojson"), "variable", True),
        (
            "{{ messages[0].tools }}" + CALLS.replace("ARGUMENTS", "c.function.arguments + ''"),
            "system",
            False,
        ),
        ("{{ messages[0].content }}" + CALLS.replace("ARGUMENTS", "c.function.arguments"), "nowhere", False),
        ("{{ messages[0].content }}", "nowhere", True),
        ("{{ raise_exception('no') }}", "nowhere", True),
    ],
)
def test_what_a_template_does_with_tools_is_found_out(source: str, place: str, takes_objects: bool) -> None:
    template = ChatTemplate(source)
    assert (template.tool_place, template.takes_objects) == (place, takes_objects)
