"""What models write, format by format, and what it means.

The texts have the form of the models' chat templates and of the examples in the documentation and tests of other
runtimes; functions and arguments are the same everywhere, so that formats can be compared.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

TOOLS: Mapping[str, Mapping[str, Any]] = {
    "get_weather": {
        "type": "object",
        "properties": {
            "city": {"type": "string"},
            "days": {"type": "integer"},
            "detailed": {"type": "boolean"},
            "tags": {"type": "array", "items": {"type": "string"}},
            "unit": {"anyOf": [{"type": "string", "enum": ["C", "F"]}, {"type": "null"}]},
        },
        "required": ["city"],
        "additionalProperties": False,
    },
    "get_time": {
        "type": "object",
        "properties": {"zone": {"type": "string"}},
        "required": [],
        "additionalProperties": False,
    },
}

PARIS = ("get_weather", {"city": "Paris", "days": 3})
ROME = ("get_weather", {"city": 'Rome, "Lazio" <b>', "detailed": True, "tags": ["a", "b"], "unit": None})
TIME = ("get_time", {"zone": "CET"})
NOW: tuple[str, dict[str, Any]] = ("get_time", {})


@dataclass(frozen=True)
class Recorded:
    """A model's answer.

    Args:
        format: The format's name.
        text: What the model wrote.
        calls: The calls in it.
        said: The text without calls and reasoning; `None` is the text as it is.
        reasoning: What it thought.
        ids: The calls' ids, where they stand in the text.
        is_canonical: Whether a grammar writes it like that.
    """

    format: str
    text: str
    calls: tuple[tuple[str, dict[str, Any]], ...] = ()
    said: str | None = ""
    reasoning: str = ""
    ids: tuple[str, ...] | None = None
    is_canonical: bool = False


PARIS_JSON = '{"city": "Paris", "days": 3}'
ROME_JSON = '{"city": "Rome, \\"Lazio\\" <b>", "detailed": true, "tags": ["a", "b"], "unit": null}'
TIME_JSON = '{"zone": "CET"}'


def _named(arguments: str, *, name: str = "name", key: str = "arguments", calls: str = "get_weather") -> str:
    return f'{{"{name}": "{calls}", "{key}": {arguments}}}'


_PARIS, _ROME = _named(PARIS_JSON), _named(ROME_JSON)
_TIME = _named(TIME_JSON, calls="get_time")

HERMES = [
    Recorded("hermes", f"<tool_call>\n{_PARIS}\n</tool_call>", (PARIS,), is_canonical=True),
    Recorded(
        "hermes",
        f"<tool_call>\n{_PARIS}\n</tool_call>\n<tool_call>\n{_ROME}\n</tool_call>",
        (PARIS, ROME),
        is_canonical=True,
    ),
    Recorded(
        "hermes",
        f"Let me see.\n<tool_call>{_TIME}</tool_call>\nDone.",
        (TIME,),
        said="Let me see.\n\nDone.",
    ),
    Recorded("hermes", f"<tool_call>\n{_PARIS}", (PARIS,)),  # without its end
    Recorded("hermes", f"<tool_call>\n{_PARIS}\n{_TIME}\n</tool_call>", (PARIS, TIME)),  # two in one tag
    Recorded("hermes", f"<tool_call>[{_PARIS}, {_TIME}]</tool_call>", (PARIS, TIME)),
    Recorded(
        "hermes",
        f'<tool_call>{{"arguments": {TIME_JSON}, "name": "get_time"}}</tool_call>',
        (TIME,),
    ),
    Recorded("hermes", '<tool_call>{"name": "get_time"}</tool_call>', (NOW,)),
    Recorded(
        "hermes",
        '<tool_call>{"name": "get_time", "arguments": "{\\"zone\\": \\"CET\\"}"}</tool_call>',
        (TIME,),
    ),
    Recorded("hermes", '<tool_call>{"name": "get_weather"}</tool_call>', said=None),  # a city is needed
    Recorded("hermes", '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Par', said=None),
    Recorded("hermes", 'So: <tool_call>{"name": "get_moon", "arguments": {}}</tool_call> ', said=None),
    Recorded("hermes", "The tag <tool_call> begins a call, </tool_call> ends it.\n", said=None),
    Recorded(
        "hermes",
        f'<tool_call>{{"name": "get_time", "arguments": {{zone}}}}</tool_call>\n<tool_call>{_PARIS}</tool_call>',
        (PARIS,),
        said='<tool_call>{"name": "get_time", "arguments": {zone}}</tool_call>',
    ),
    Recorded(
        "hermes",
        f"<think>\nIn Paris?\n</think>\n\n<tool_call>\n{_PARIS}\n</tool_call>",
        (PARIS,),
        reasoning="In Paris?",
    ),
]

QWEN3_CODER = [
    Recorded(
        "qwen3-coder",
        "<tool_call>\n<function=get_weather>\n<parameter=city>\nParis\n</parameter>\n<parameter=days>\n3\n</parameter>\n"
        "</function>\n</tool_call>",
        (PARIS,),
        is_canonical=True,
    ),
    Recorded(
        "qwen3-coder",
        'Sure!\n<tool_call>\n<function=get_weather>\n<parameter=city>\nRome, "Lazio" <b>\n</parameter>\n'
        '<parameter=detailed>\nTrue\n</parameter>\n<parameter=tags>\n["a",\n "b"]\n</parameter>\n'
        "<parameter=unit>\nnull\n</parameter>\n</function>\n</tool_call>\n"
        "<tool_call>\n<function=get_time>\n</function>\n</tool_call>",
        (ROME, NOW),
        said="Sure!",
    ),
    Recorded(
        "qwen3-coder",
        "<function=get_time>\n<parameter=zone>\nCET\n</parameter>\n</function>",
        (TIME,),
    ),
    Recorded(
        "qwen3-coder",
        "<tool_call>\n<function=get_weather>\n<parameter=city>\nParis\n</parameter>\n",
        said=None,
    ),
    Recorded("qwen3-coder", "<tool_call>\n<function=get_moon>\n</function>\n</tool_call>", said=None),
]

FUNCTIONARY = [
    Recorded("functionary", f"<function=get_weather>{PARIS_JSON}</function>", (PARIS,), is_canonical=True),
    Recorded(
        "functionary",
        f"<function=get_weather>{ROME_JSON}</function><function=get_time>{TIME_JSON}</function>",
        (ROME, TIME),
        is_canonical=True,
    ),
    Recorded("functionary", f"Wait. <function=get_time>{TIME_JSON}", (TIME,), said="Wait."),
    Recorded("functionary", '<function=get_time>{"zone": CET}</function>', said=None),
]

_LLAMA = _named(PARIS_JSON, key="parameters")
_LLAMA_TIME = _named(TIME_JSON, key="parameters", calls="get_time")
LLAMA3 = [
    Recorded("llama3", _LLAMA, (PARIS,), is_canonical=True),
    Recorded("llama3", f"<|python_tag|>{_LLAMA}", (PARIS,)),
    Recorded("llama3", f"{_LLAMA}; {_LLAMA_TIME}", (PARIS, TIME)),
    Recorded("llama3", f"[{_LLAMA},\n{_LLAMA_TIME}]", (PARIS, TIME)),
    Recorded("llama3", f"{_LLAMA}\n\nThat is all.", (PARIS,), said="That is all."),
    Recorded(
        "llama3",
        f'{{"type": "function", "name": "get_time", "parameters": {TIME_JSON}}}',
        (TIME,),
    ),
    Recorded("llama3", '{"city": "Paris"}', said=None),
    Recorded("llama3", f"It would be {_LLAMA}, I think.", said=None),
    Recorded("llama3", _LLAMA[:-1], said=None),
]

PYTHONIC = [
    Recorded("pythonic", '[get_weather(city="Paris", days=3)]', (PARIS,), is_canonical=True),
    Recorded(
        "pythonic",
        "[get_weather(city='Rome, \"Lazio\" <b>', detailed=True, tags=['a', 'b'], unit=None), get_time()]",
        (ROME, NOW),
    ),
    Recorded("pythonic", '<|python_start|>[get_time(zone="CET")]<|python_end|>', (TIME,)),
    Recorded("pythonic", "[get_time(zone='C\\x45\\u0054')]\nDone.", (TIME,), said="Done."),
    Recorded("pythonic", "[link](https://example.org) is what I found", said=None),
    Recorded("pythonic", "[get_time(1)]", said=None),
    Recorded("pythonic", "[get_weather(city='a', days=1e999)]", said=None),
    Recorded("pythonic", "[get_weather(city='Par", said=None),
    Recorded("pythonic", "[get_time(), get_moon()]", (NOW,), said=", get_moon()]"),
]

LFM2 = [
    Recorded(
        "lfm2",
        '<|tool_call_start|>[get_weather(city="Paris", days=3)]<|tool_call_end|>',
        (PARIS,),
        is_canonical=True,
    ),
    Recorded(
        "lfm2",
        'So:<|tool_call_start|>[get_weather(city="Paris", days=3), get_time(zone="CET")]<|tool_call_end|>Wait.',
        (PARIS, TIME),
        said="So:Wait.",
    ),
    Recorded("lfm2", "Use [link text](url).", said=None),
    Recorded("lfm2", "<|tool_call_start|>[get_time(zone=CET)]<|tool_call_end|>", said=None),
]

MISTRAL = [
    Recorded("mistral", f"[TOOL_CALLS][{_PARIS}]", (PARIS,), is_canonical=True),
    Recorded("mistral", f"[TOOL_CALLS] [{_ROME}, {_TIME}]", (ROME, TIME)),
    Recorded(
        "mistral",
        f'Hello[TOOL_CALLS][{{"name": "get_time", "arguments": {TIME_JSON}, "id": "9Ae3bDc2F"}}]\nextra',
        (TIME,),
        said="Hello\nextra",
        ids=("9Ae3bDc2F",),
    ),
    Recorded("mistral", f"[TOOL_CALLS]get_weather{PARIS_JSON}", (PARIS,)),
    Recorded("mistral", "[TOOL_CALLS] no JSON at all", said=None),
    Recorded("mistral", "[TOOL_CALLS][]", said=None),
    Recorded("mistral", f"[TOOL_CALLS][{_PARIS[:-3]}", said=None),
]

MISTRAL_NAMED = [
    Recorded("mistral-named", f"[TOOL_CALLS]get_weather[ARGS]{PARIS_JSON}", (PARIS,), is_canonical=True),
    Recorded(
        "mistral-named",
        f"[TOOL_CALLS]get_weather[ARGS]{PARIS_JSON}[TOOL_CALLS]get_time[ARGS]{TIME_JSON}",
        (PARIS, TIME),
        is_canonical=True,
    ),
    Recorded(
        "mistral-named",
        f"[TOOL_CALLS]get_weather[CALL_ID]9Ae3bDc2F[ARGS]{PARIS_JSON}",
        (PARIS,),
        ids=("9Ae3bDc2F",),
    ),
    Recorded(
        "mistral-named",
        f"[THINK]In Paris?[/THINK]I look.[TOOL_CALLS]get_time{TIME_JSON}",
        (TIME,),
        said="I look.",
        reasoning="In Paris?",
    ),
    Recorded("mistral-named", '[TOOL_CALLS]get_weather[ARGS]{"city"', said=None),
    Recorded("mistral-named", '[TOOL_CALLS]get_weather[ARGS]{"city":\u00a0"Paris"}', said=None),
    Recorded("mistral-named", '[TOOL_CALLS]get_weather[ARGS]{"city": "\\ud83d"}', said=None),
    Recorded(
        "mistral-named",
        '[TOOL_CALLS]get_weather[ARGS]{"city": "\\ud83d\\ude00"}',
        (("get_weather", {"city": "\U0001f600"}),),
    ),
    Recorded("mistral-named", f"[TOOL_CALLS]get_moon[ARGS]{PARIS_JSON}", said=None),
]

PHI4 = [
    Recorded("phi4", f"<|tool_call|>[{_PARIS}]<|/tool_call|>", (PARIS,), is_canonical=True),
    Recorded("phi4", f"<|tool_call|>{_PARIS}<|/tool_call|>", (PARIS,)),
    Recorded("phi4", f"functools[{_PARIS}, {_TIME}]", (PARIS, TIME)),
    Recorded(
        "phi4",
        f"Let me check.\nfunctools[\n  {_TIME}\n]\nMore?",
        (TIME,),
        said="Let me check.\n\nMore?",
    ),
    Recorded("phi4", 'functools{"name": "get_time"}', said=None),
    Recorded("phi4", "functools[] This is just text", said=None),
    Recorded("phi4", 'functools[{"name": "get_time", "arguments": "no object"}]', said=None),
]

GRANITE = [
    Recorded("granite", f"<|tool_call|>[{_PARIS}]", (PARIS,), is_canonical=True),
    Recorded("granite", f"<|tool_call|> [\n  {_ROME},\n  {_TIME}\n]", (ROME, TIME)),
    Recorded("granite", f"Now.\n<tool_call> [{_TIME}]\nYes.", (TIME,), said="Now.\n\nYes."),
    Recorded("granite", '<|tool_call|> [{"name": "get_time", "arguments": {', said=None),
    Recorded(
        "granite",
        f"<think>In Paris?</think><response>I look.</response><|tool_call|>[{_PARIS}]",
        (PARIS,),
        said="I look.",
        reasoning="In Paris?",
    ),
]


def _action(*calls: tuple[str, str]) -> str:
    each = [
        f'    {{"tool_call_id": "{number}", "tool_name": "{name}", "parameters": {arguments}}}'
        for number, (name, arguments) in enumerate(calls)
    ]
    return "<|START_ACTION|>[\n" + ",\n".join(each) + "\n]<|END_ACTION|>"


COMMAND = [
    Recorded("command", _action(("get_weather", PARIS_JSON)), (PARIS,), ids=("0",)),
    Recorded(
        "command",
        f'<|START_ACTION|>[{{"tool_call_id": "7", "tool_name": "get_weather", "parameters": {PARIS_JSON}}}]<|END_ACTION|>',
        (PARIS,),
        ids=("7",),
        is_canonical=True,
    ),
    Recorded(
        "command",
        f"<|START_THINKING|> In Paris?<|END_THINKING|>{_action(('get_weather', ROME_JSON), ('get_time', TIME_JSON))}",
        (ROME, TIME),
        reasoning="In Paris?",
        ids=("0", "1"),
    ),
    Recorded(
        "command",
        "<|START_THINKING|>Easy.<|END_THINKING|>\n<|START_RESPONSE|>It is mild.<|END_RESPONSE|>",
        said="It is mild.",
        reasoning="Easy.",
    ),
    Recorded("command", '<|START_ACTION|>[{"tool_call_id": "0", "tool_name": "get_', said=None),
]


def _deepseek(*calls: str) -> str:
    each = "".join(f"<｜tool▁call▁begin｜>{call}<｜tool▁call▁end｜>" for call in calls)
    return f"<｜tool▁calls▁begin｜>{each}<｜tool▁calls▁end｜>"


def _fenced(name: str, arguments: str) -> str:
    return f"function<｜tool▁sep｜>{name}\n```json\n{arguments}\n```"


DEEPSEEK_V3 = [
    Recorded("deepseek-v3", _deepseek(_fenced("get_weather", PARIS_JSON)), (PARIS,), is_canonical=True),
    Recorded(
        "deepseek-v3",
        _deepseek(_fenced("get_weather", ROME_JSON), _fenced("get_time", TIME_JSON)),
        (ROME, TIME),
        is_canonical=True,
    ),
    Recorded(
        "deepseek-v3",
        f"Let me check.{_deepseek(_fenced('get_time', TIME_JSON))}",
        (TIME,),
        said="Let me check.",
    ),
    Recorded("deepseek-v3", _deepseek(_fenced("get_weather", '{"city": "Tokyo"')), said=None),
    Recorded(
        "deepseek-v3",
        f"<｜tool▁calls▁begin｜>function<｜tool▁sep｜>get_time\n```json\n{TIME_JSON}\n```<｜tool▁calls▁end｜>",
        said=None,
    ),
]

DEEPSEEK_V31 = [
    Recorded(
        "deepseek-v3.1", _deepseek(f"get_weather<｜tool▁sep｜>{PARIS_JSON}"), (PARIS,), is_canonical=True
    ),
    Recorded(
        "deepseek-v3.1",
        _deepseek(f"get_weather<｜tool▁sep｜>{PARIS_JSON}", f"get_time<｜tool▁sep｜>{TIME_JSON}"),
        (PARIS, TIME),
        is_canonical=True,
    ),
    Recorded(
        "deepseek-v3.1",
        f"<think>In Paris?</think>So.\n<｜tool▁call▁begin｜>get_time<｜tool▁sep｜>{TIME_JSON}<｜tool▁call▁end｜>",
        (TIME,),
        said="So.",
        reasoning="In Paris?",
    ),
    Recorded("deepseek-v3.1", _deepseek('get_time<｜tool▁sep｜>{"zone": "CE')[:70], said=None),
]


def _kimi(*calls: tuple[str, str]) -> str:
    each = "".join(
        f"<|tool_call_begin|>{name}<|tool_call_argument_begin|>{arguments}<|tool_call_end|>"
        for name, arguments in calls
    )
    return f"<|tool_calls_section_begin|>{each}<|tool_calls_section_end|>"


KIMI = [
    Recorded(
        "kimi",
        _kimi(("functions.get_weather:0", PARIS_JSON)),
        (PARIS,),
        ids=("functions.get_weather:0",),
        is_canonical=True,
    ),
    Recorded(
        "kimi",
        f"Compare. {_kimi(('functions.get_weather:0 ', ROME_JSON), ('get_time:1 ', TIME_JSON))}",
        (ROME, TIME),
        said="Compare.",
        ids=("functions.get_weather:0", "get_time:1"),
    ),
    Recorded(
        "kimi",
        f"◁think▷In Paris?◁/think▷{_kimi(('functions.get_time:3', TIME_JSON))}",
        (TIME,),
        reasoning="In Paris?",
        ids=("functions.get_time:3",),
    ),
    Recorded("kimi", _kimi(("functions.get_time.0", TIME_JSON)), said=None),
    Recorded(
        "kimi",
        _kimi(("functions.get_weather:0", '{"city": "Par"'), ("functions.get_time:1", TIME_JSON)),
        (TIME,),
        said='<|tool_calls_section_begin|><|tool_call_begin|>functions.get_weather:0<|tool_call_argument_begin|>{"city": "Par"'
        "<|tool_call_end|>",
        ids=("functions.get_time:1",),
    ),
]

GLM = [
    Recorded(
        "glm",
        "<tool_call>get_weather\n<arg_key>city</arg_key>\n<arg_value>Paris</arg_value>\n<arg_key>days</arg_key>\n"
        "<arg_value>3</arg_value>\n</tool_call>",
        (PARIS,),
        is_canonical=True,
    ),
    Recorded(
        "glm",
        "<think>In Paris?</think>\n\nI look.\n<tool_call>get_weather\n    <arg_key>city</arg_key>\n    "
        '<arg_value>Rome, "Lazio" <b></arg_value><arg_key>detailed</arg_key><arg_value>true</arg_value>'
        '<arg_key>tags</arg_key><arg_value>["a", "b"]</arg_value><arg_key>unit</arg_key><arg_value>null</arg_value>'
        "</tool_call>\n<tool_call>get_time\n</tool_call>",
        (ROME, NOW),
        said="I look.",
        reasoning="In Paris?",
    ),
    Recorded(
        "glm",
        "One. <tool_call>get_time<arg_key>zone</arg_key><arg_value>CET</arg_value></tool_call> Two.",
        (TIME,),
        said="One.  Two.",
    ),
    Recorded(
        "glm", "<tool_call>get_weather\n<arg_key>city</arg_key>\n<arg_value>Paris</arg_value>", said=None
    ),
    Recorded(
        "glm",
        "<tool_call>get_weather\n<arg_key>city\n<arg_value>Paris</arg_value>\n</tool_call>",
        said=None,
    ),
]

MINIMAX = [
    Recorded(
        "minimax",
        '<minimax:tool_call>\n<invoke name="get_weather">\n<parameter name="city">Paris</parameter>\n'
        '<parameter name="days">3</parameter>\n</invoke>\n</minimax:tool_call>',
        (PARIS,),
        is_canonical=True,
    ),
    Recorded(
        "minimax",
        '<minimax:tool_call><invoke name="get_weather"><parameter name="city">Rome, "Lazio" <b></parameter>'
        '<parameter name="detailed">true</parameter><parameter name="tags">["a", "b"]</parameter>'
        '<parameter name="unit">null</parameter></invoke><invoke name="get_time"></invoke></minimax:tool_call>',
        (ROME, NOW),
    ),
    Recorded(
        "minimax",
        "In Paris?\n</think>\n\nLet me check.\n\n"
        '<minimax:tool_call>\n<invoke name="get_time">\n<parameter name="zone">CET</parameter>\n</invoke>\n</minimax:tool_call>',
        (TIME,),
        said="Let me check.",
        reasoning="In Paris?",
    ),
    Recorded("minimax", '<minimax:tool_call>\n<invoke name="get_weather">\n<parameter name="ci', said=None),
]

FUNCTION_GEMMA = [
    Recorded(
        "function-gemma",
        "<start_function_call>call:get_weather{city:<escape>Paris<escape>,days:3}<end_function_call>",
        (PARIS,),
        is_canonical=True,
    ),
    Recorded(
        "function-gemma",
        'Now. <start_function_call>call:get_weather{city:<escape>Rome, "Lazio" <b><escape>,detailed:true,'
        "tags:[<escape>a<escape>,<escape>b<escape>],unit:null}<end_function_call>"
        "<start_function_call>call:get_time{}<end_function_call>",
        (ROME, NOW),
        said="Now.",
    ),
    Recorded(
        "function-gemma",
        "<start_function_call>call:get_weather{city:<escape>Paris<escape>days:<escape>3<escape>}",
        (PARIS,),
    ),
    Recorded("function-gemma", "<start_function_call>call:get_time{zone:CET}<end_function_call>", said=None),
    Recorded("function-gemma", "<start_function_call>call:get_time{zone:<escape>CET", said=None),
]

GEMMA_4 = [
    Recorded(
        "gemma4",
        '<|tool_call>call:get_weather{city:<|"|>Paris<|"|>,days:3}<tool_call|>',
        (PARIS,),
        is_canonical=True,
    ),
    Recorded(
        "gemma4",
        "<|channel>thought\nIn Paris?\n<channel|>I look.<|tool_call>call:get_time{}<tool_call|>"
        '<|tool_call>call:get_time{zone:<|"|>CET<|"|>}<tool_call|>',
        (NOW, TIME),
        said="I look.",
        reasoning="In Paris?",
    ),
    Recorded("gemma4", "<|tool_call>call:get_moon{}<tool_call|>", said=None),
    Recorded("gemma4", '<|tool_call>call:get_time{zone:<|"|>C', said=None),
]


def _harmony(name: str, arguments: str) -> str:
    return f"<|channel|>commentary to=functions.{name} <|constrain|>json<|message|>{arguments}"


HARMONY = [
    Recorded("harmony", _harmony("get_weather", PARIS_JSON) + "<|call|>", (PARIS,), is_canonical=True),
    Recorded(
        "harmony",
        f"<|channel|>analysis<|message|>In Paris?<|end|><|start|>assistant{_harmony('get_weather', PARIS_JSON)}",
        (PARIS,),
        reasoning="In Paris?",
    ),
    Recorded(
        "harmony",
        f"<|channel|>commentary<|message|>I look.<|end|><|start|>assistant{_harmony('get_weather', ROME_JSON)}<|call|>"
        f"<|start|>assistant{_harmony('get_time', TIME_JSON)}<|call|>",
        (ROME, TIME),
        said="I look.",
    ),
    Recorded(
        "harmony",
        f" to=functions.get_time<|channel|>commentary json<|message|>{TIME_JSON}",
        (TIME,),
    ),
    Recorded(
        "harmony",
        f"<|channel|>analysis<|message|>One.<|end|><|start|>assistant<|channel|>analysis<|message|>Two.<|end|>"
        f"<|start|>assistant to=functions.get_time<|channel|>commentary <|constrain|>json<|message|>{TIME_JSON}<|call|>",
        (TIME,),
        reasoning="One.\n\nTwo.",
    ),
    Recorded(
        "harmony",
        "<|channel|>analysis<|message|>Easy.<|end|><|start|>assistant<|channel|>final<|message|>It is mild.",
        said="It is mild.",
        reasoning="Easy.",
    ),
    Recorded("harmony", _harmony("get_moon", "{}") + "<|call|", said=None),
    Recorded("harmony", _harmony("get_weather", '{"city": "Par'), said=None),
]

GENERIC = [
    Recorded("generic", _PARIS, (PARIS,), is_canonical=True),
    Recorded("generic", f"[{_ROME}, {_TIME}]", (ROME, TIME), is_canonical=True),
    Recorded("generic", f"```json\n{_PARIS}\n```\nThat is it.", (PARIS,), said="That is it."),
    Recorded("generic", '{"answer": [1, 2]}', said=None),
    Recorded("generic", "  \n[1] is a source.", said=None),
]

RECORDED = [
    *HERMES,
    *QWEN3_CODER,
    *FUNCTIONARY,
    *LLAMA3,
    *PYTHONIC,
    *LFM2,
    *MISTRAL,
    *MISTRAL_NAMED,
    *PHI4,
    *GRANITE,
    *COMMAND,
    *DEEPSEEK_V3,
    *DEEPSEEK_V31,
    *KIMI,
    *GLM,
    *MINIMAX,
    *FUNCTION_GEMMA,
    *GEMMA_4,
    *HARMONY,
    *GENERIC,
]
