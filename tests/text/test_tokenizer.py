"""The tokenizer of a folder, held against transformers' AutoTokenizer on the same folder."""

import json
import shutil

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken
from transformers import AutoTokenizer

from genai.config import Message
from genai.errors import ChatTemplateError, OptionError, TokenizerError
from genai.text import Tokenizer
from tests.text.tokenizers_for_tests import CORPUS, KINDS, added_token, write_folder

TEXTS = [
    *CORPUS[:4],
    "",
    " ",
    "\n\n a  b \t",
    "<s>Hi</s> <|user|>x<tool_call>y zwei Wörter <|new|> <|end|>",
    "It 's , I 'm n't .",
    "👩‍👩‍👧\u0000\ufffd",
]

CONFIGS = {
    "plain": {},
    "add_bos_token is passed over": {"add_bos_token": True, "add_eos_token": True},
    "clean up": {"clean_up_tokenization_spaces": True},
    "clean up even BPE": {
        "clean_up_tokenization_spaces": True,
        "clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output": True,
    },
    "split special tokens": {"split_special_tokens": True},
    "tokens as objects": {
        "bos_token": {"__type": "AddedToken", **added_token("<s>", normalized=False)},
        "pad_token": {"__type": "AddedToken", **added_token("<|pad|>", lstrip=True)},
    },
    "new special tokens": {"eos_token": "<|end|>", "additional_special_tokens": ["<|new|>"]},
    "named tokens of its own": {"image_token": "<|new|>", "extra_special_tokens": {"video_token": "<|end|>"}},
    "a list of special tokens": {"extra_special_tokens": ["<|new|>"]},
    "flags that differ": {
        "added_tokens_decoder": {
            "1": added_token("<s>", special=True),
            "3": added_token("<|user|>", special=False, rstrip=True),
            "5000": added_token("<|new|>", special=True, lstrip=True),
            "5001": added_token("<|end|>", special=False),
        }
    },
    "the end token is marked ordinary": {
        "eos_token": "<|end|>",
        "added_tokens_decoder": {"5001": added_token("<|end|>", special=False)},
    },
}


def load(folder):
    return Tokenizer.from_folder(folder), AutoTokenizer.from_pretrained(str(folder))


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("kind", ["byte_level", "sentencepiece", "unigram", "word_piece"])
def test_equals_transformers(kind, config, tmp_path):
    ours, reference = load(write_folder(tmp_path, KINDS[kind](), **CONFIGS[config]))
    assert dict(ours.special_tokens) == reference.special_tokens_map
    assert ours.vocab_size == len(reference)
    assert ours.bos_token_id == reference.bos_token_id
    assert ours.eos_token_id == reference.eos_token_id
    assert ours.pad_token_id == reference.pad_token_id
    for text in TEXTS:
        for add in (True, False):
            assert ours.encode(text, add_special_tokens=add) == reference.encode(text, add_special_tokens=add)
        token_ids = reference.encode(text)
        for skip in (True, False):
            expected = reference.decode(token_ids, skip_special_tokens=skip)
            assert ours.decode(token_ids, skip_special_tokens=skip) == expected
            detokenizer = ours.detokenizer(skip_special_tokens=skip)
            assert "".join(map(detokenizer.push, token_ids)) + detokenizer.finish() == expected
            for clean_up in (True, False):
                options = {"skip_special_tokens": skip, "clean_up_tokenization_spaces": clean_up}
                if not (clean_up and kind in ("byte_level", "sentencepiece")):  # ours does what it is told
                    assert ours.decode(token_ids, **options) == reference.decode(token_ids, **options)


@pytest.mark.parametrize("kind", ["gemma", "end_of_word_bpe", "word_level", "ctc"])
def test_the_other_kinds_equal_transformers_too(kind, tmp_path):
    ours, reference = load(write_folder(tmp_path, KINDS[kind]()))
    for text in TEXTS:
        token_ids = reference.encode(text)
        assert ours.encode(text) == token_ids
        assert ours.decode(token_ids) == reference.decode(token_ids, skip_special_tokens=True)


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    return load(write_folder(tmp_path_factory.mktemp("tokenizer"), KINDS["byte_level"]()))


@settings(deadline=None, max_examples=100)
@given(text=st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
def test_any_text_comes_back(pair, text):
    ours, reference = pair
    token_ids = ours.encode(text)
    assert token_ids == reference.encode(text)
    assert ours.decode(token_ids, skip_special_tokens=False) == text


def test_a_batch_is_as_one_by_one(pair):
    ours, _ = pair
    assert ours.encode_batch(TEXTS) == [ours.encode(text) for text in TEXTS]
    assert ours.encode_batch([]) == []


@pytest.mark.parametrize("text", ["\n", ":", "o c", "zwei W", "main():"])
def test_every_way_to_write_a_text_holds_an_overlapping_sequence(text, pair):
    tokenizer, _ = pair
    sequences = tokenizer.overlapping(text)
    for before in ("", "a ", "once", "def zwei"):
        token_ids = tokenizer.encode(before + text + " and more", add_special_tokens=False)
        grams = {tuple(token_ids[i : i + n]) for n in (1, 2, 3, 4, 5, 6, 7) for i in range(len(token_ids))}
        assert grams & set(sequences), (before, token_ids)
    for sequence in sequences:
        assert len(sequence) > 1 or text in tokenizer.decode(sequence, skip_special_tokens=False)
    assert tokenizer.overlapping(text) is sequences


def test_padding_and_truncation_of_the_file_are_off(tmp_path):
    backend = KINDS["byte_level"]()
    backend.enable_truncation(2)
    backend.enable_padding(length=64)
    ours, reference = load(write_folder(tmp_path, backend))
    text = CORPUS[0]
    assert ours.encode(text) == reference.encode(text)
    assert len(ours.encode(text)) not in (2, 64)


def test_older_special_token_files(tmp_path):
    folder = write_folder(tmp_path, KINDS["byte_level"]())
    special = {"eos_token": added_token("<|end|>"), "pad_token": "<|pad|>"}
    (folder / "special_tokens_map.json").write_text(json.dumps(special), encoding="utf-8")
    ours, reference = load(folder)
    added = {"<|pad|>": ours.vocab_size - 1, "<|new|>": ours.vocab_size}
    assert ours.encode(TEXTS[7]) == reference.encode(TEXTS[7])
    (folder / "added_tokens.json").write_text(json.dumps(added), encoding="utf-8")
    ours, reference = load(folder)
    assert ours.special_tokens["eos_token"] == "<|end|>"
    assert dict(ours.special_tokens) == reference.special_tokens_map
    assert ours.encode(TEXTS[7]) == reference.encode(TEXTS[7])


def test_without_a_configuration_the_tokenizer_still_works(tmp_path):
    folder = write_folder(tmp_path, KINDS["sentencepiece"]())
    (folder / "tokenizer_config.json").unlink()
    tokenizer = Tokenizer.from_folder(folder)
    assert tokenizer.eos_token_id is None
    assert tokenizer.encode("the")[0] == 1
    assert tokenizer.special_ids == frozenset(range(4))


def test_single_tokens(pair):
    ours, _ = pair
    assert ours.id_to_token(1) == "<s>"
    assert ours.token_to_id("<s>") == 1
    assert ours.token_to_id("no such token") is None
    assert [ours.id_to_token(token_id) for token_id in (-1, 10**6, 2**40)] == [None] * 3
    assert ours.decode([10**6]) == ""
    assert ours.backend.id_to_token(1) == "<s>"


@pytest.mark.parametrize("text", [None, b"bytes", 3, "half a pair: \ud83d"])
def test_what_is_no_text_is_refused(pair, text):
    with pytest.raises(OptionError, match="a text to encode must be"):
        pair[0].encode(text)


@pytest.mark.parametrize("token_ids", [[-1], ["a"], [1.5], [2**40]])
def test_what_is_no_id_is_refused(pair, token_ids):
    with pytest.raises(OptionError, match="token ids must be"):
        pair[0].decode(token_ids)


# --- files that are missing or broken ---


def test_a_missing_tokenizer_says_what_to_do(tmp_path):
    with pytest.raises(TokenizerError, match="is not a folder"):
        Tokenizer.from_folder(tmp_path / "nowhere")
    with pytest.raises(TokenizerError, match=r"has no tokenizer\.json: copy"):
        Tokenizer.from_folder(tmp_path)
    (tmp_path / "tokenizer.model").write_bytes(b"")
    with pytest.raises(TokenizerError, match=r"only tokenizer\.model\. Convert it .*save_pretrained"):
        Tokenizer.from_folder(tmp_path)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("tokenizer.json", '{"version": "1.0", "mod', "cannot be read as a tokenizer"),
        ("tokenizer.json", "[]", "cannot be read as a tokenizer"),
        ("tokenizer_config.json", "{", "cannot be read as JSON"),
        ("tokenizer_config.json", "[]", "must hold a JSON object"),
        ("tokenizer_config.json", '{"added_tokens_decoder": {"x": 1}}', "tokens in .* cannot be read"),
        ("tokenizer_config.json", '{"bos_token": {"text": "<s>"}}', "tokens in .* cannot be read"),
        ("tokenizer_config.json", '{"chat_template": 3}', "chat_template in .* must be"),
        ("tokenizer_config.json", '{"chat_template": [{"name": "x"}]}', "chat_template in .* must be"),
    ],
)
def test_a_broken_file_is_named(name, text, message, tmp_path):
    write_folder(tmp_path, KINDS["word_level"]())
    (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(TokenizerError, match=message) as caught:
        Tokenizer.from_folder(tmp_path)
    assert str(tmp_path) in str(caught.value)


# --- chat templates ---

CHAT = [Message("user", "Hi")]


def template_folder(folder, files, **config):
    write_folder(folder, KINDS["byte_level"](), **config)
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder


NAMED = [{"name": "default", "template": "D"}, {"name": "tool_use", "template": "T"}]


@pytest.mark.parametrize(
    ("files", "config", "plain", "with_tools"),
    [
        ({}, {"chat_template": "C"}, "C", "C"),
        ({}, {"chat_template": NAMED}, "D", "T"),
        ({"chat_template.jinja": "F"}, {"chat_template": "C"}, "F", "F"),
        ({"chat_template.jinja": "F"}, {"chat_template": NAMED}, "F", "F"),
        (
            {"chat_template.jinja": "F", "additional_chat_templates/tool_use.jinja": "A"},
            {"chat_template": "C"},
            "F",
            "A",
        ),
        ({"additional_chat_templates/default.jinja": "A"}, {}, "A", "A"),
    ],
)
def test_which_template_is_used(files, config, plain, with_tools, tmp_path):
    ours, reference = load(template_folder(tmp_path, files, **config))
    for tools, expected in ((None, plain), ([], with_tools)):
        assert ours.apply_chat_template(CHAT, tools=tools) == expected
        assert reference.apply_chat_template([CHAT[0].to_dict()], tools=tools, tokenize=False) == expected


def test_the_older_template_file_is_the_last_resort(tmp_path):
    template_folder(tmp_path, {"chat_template.json": '{"chat_template": "J"}'})
    assert Tokenizer.from_folder(tmp_path).apply_chat_template(CHAT) == "J"


def test_several_templates_without_a_default(tmp_path):
    template_folder(tmp_path, {}, chat_template=[{"name": "tool_use", "template": "T"}])
    tokenizer = Tokenizer.from_folder(tmp_path)
    assert tokenizer.apply_chat_template(CHAT, tools=[]) == "T"
    with pytest.raises(ChatTemplateError, match=r'\(tool_use\), but none is called "default"'):
        tokenizer.apply_chat_template(CHAT)


def test_a_model_without_a_template_says_what_to_do(tmp_path):
    tokenizer = Tokenizer.from_folder(write_folder(tmp_path, KINDS["byte_level"]()))
    assert tokenizer.chat_template is None
    for apply in (tokenizer.apply_chat_template, tokenizer.encode_chat):
        with pytest.raises(ChatTemplateError, match=r"plain prompt to generate .* chat_template\.jinja"):
            apply(CHAT)


def test_a_broken_template_does_not_keep_a_tokenizer_from_loading(tmp_path):
    template_folder(tmp_path, {"chat_template.jinja": "{% if %}"})
    tokenizer = Tokenizer.from_folder(tmp_path)
    assert tokenizer.decode(tokenizer.encode("Hi")) == "Hi"
    with pytest.raises(ChatTemplateError, match="line 1 cannot be compiled"):
        tokenizer.apply_chat_template(CHAT)


def test_a_rendered_conversation_is_encoded_without_further_special_tokens(tmp_path):
    source = "{{ bos_token }}{% for m in messages %}<|user|>{{ m.content }}{{ eos_token }}{% endfor %}"
    ours, reference = load(write_folder(tmp_path, KINDS["sentencepiece"](), chat_template=source))
    messages = [{"role": "user", "content": "the model <s>"}]
    expected = reference.apply_chat_template(messages, return_dict=False)
    assert ours.encode_chat(messages) == expected
    assert expected.count(1) == 2
    assert ours.chat_template.render(messages) == ours.apply_chat_template(messages)


def test_a_folder_written_by_transformers_reads_back(tmp_path, pair):
    reference = AutoTokenizer.from_pretrained(pair[1].name_or_path)
    reference.chat_template = "{{ messages[0].content }}"
    reference.add_special_tokens({"pad_token": "<|pad|>", "extra_special_tokens": [AddedToken("<|new|>")]})
    reference.save_pretrained(tmp_path / "saved")
    shutil.copytree(tmp_path / "saved", tmp_path / "copied")
    copied = Tokenizer.from_folder(tmp_path / "copied")
    assert copied.encode(TEXTS[7]) == reference.encode(TEXTS[7])
    assert copied.apply_chat_template(CHAT) == "Hi"
    assert copied.pad_token_id == reference.pad_token_id
