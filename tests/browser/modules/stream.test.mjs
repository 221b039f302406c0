import assert from "node:assert/strict";
import { test } from "node:test";

const page = (name) => import(`${process.env.PAGE}/model/${name}.js`);
const { EventParser, readEvents } = await page("events");
const { AnswerReader, beginningWith, perplexity } = await page("answer");
const { NUMBERS, readNumber, readTools, requestFields, cleanSettings } = await page("settings");
const { RequestError, errorOfResponse, errorOfEvent, asRequestError, failureOf, titleOfFailure } =
  await page("failures");

test("events are the same wherever the stream is cut", async () => {
  for (const end of ["\n", "\r\n"]) {
    const text = [
      'data: {"a": 1}',
      "",
      ": a comment",
      "",
      "event: x",
      "data:two",
      "data: lines é😀",
      "",
      "data: [DONE]",
      "",
      "",
    ].join(end);
    const expected = ['{"a": 1}', "two\nlines é😀", "[DONE]"];
    const bytes = new TextEncoder().encode(text);
    for (let cut = 0; cut <= bytes.length; cut += 1) {
      const stream = new Blob([bytes]).stream().pipeThrough(cutAt(cut));
      assert.deepEqual(await Array.fromAsync(readEvents(stream)), expected);
    }
    const parser = new EventParser();
    assert.deepEqual(
      [...text].flatMap((character) => parser.push(character)),
      expected,
    );
  }
});

function cutAt(cut) {
  return new TransformStream({
    transform(bytes, controller) {
      for (const part of [bytes.slice(0, cut), bytes.slice(cut)]) controller.enqueue(part);
    },
  });
}

const chunk = (delta, more = {}) => ({ choices: [{ index: 0, delta, ...more }] });

test("chunks become a message, tokens and figures", () => {
  const message = { content: "", finish: null };
  const tokens = [];
  const reader = new AnswerReader(message, tokens, 1000);
  reader.take(chunk({ role: "assistant", content: "" }), 1100);
  reader.take(chunk({ reasoning: "Hm" }), 1200);
  const entry = {
    token: "Yes",
    logprob: -0.1,
    top_logprobs: [
      { token: "Yes", logprob: -0.1 },
      { token: "No", logprob: -3 },
    ],
  };
  reader.take(chunk({ content: "Yes" }, { logprobs: { content: [entry] } }), 1300);
  reader.take(chunk({ tool_calls: [{ index: 0, id: "c", function: { name: "f", arguments: "{}" } }] }), 1700);
  reader.take(chunk({}, { finish_reason: "tool_calls" }), 1800);
  reader.take(
    { choices: [], usage: { prompt_tokens: 9, completion_tokens: 6, prompt_tokens_details: { cached_tokens: 4 } } },
    1900,
  );
  assert.deepEqual(message, {
    content: "Yes",
    reasoning: "Hm",
    toolCalls: [{ id: "c", name: "f", arguments: "{}" }],
    finish: "tool_calls",
    stats: { promptTokens: 9, completionTokens: 6, cachedTokens: 4, firstTokenSeconds: 0.2, tokensPerSecond: 10 },
  });
  assert.deepEqual(tokens, [
    {
      text: "Yes",
      logprob: -0.1,
      top: [
        ["Yes", -0.1],
        ["No", -3],
      ],
    },
  ]);
});

test("calls come in pieces, and one that is cut off is none", () => {
  const piece = (index, part, id) => chunk({ tool_calls: [{ index, ...(id && { id }), function: part }] });
  const chunks = [
    piece(0, { name: "f", arguments: "" }, "c"),
    piece(0, { arguments: '{"a":' }),
    piece(0, { arguments: " 1}" }),
    piece(1, { name: "g", arguments: "" }, "d"),
    piece(1, { arguments: '{"b":' }),
  ];
  const f = { id: "c", name: "f", arguments: '{"a": 1}' };
  for (const [more, reason, calls] of [
    [[], "length", [f]],
    [[piece(1, { arguments: "2}" })], "tool_calls", [f, { id: "d", name: "g", arguments: '{"b":2}' }]],
  ]) {
    const message = { content: "" };
    const reader = new AnswerReader(message, [], 0);
    for (const each of [...chunks, ...more, chunk({}, { finish_reason: reason })]) reader.take(each, 1);
    assert.deepEqual(message.toolCalls, calls);
  }
});

test("other beginnings are those that are a text", () => {
  const tokens = ["A", " b", "\uFFFD", "\uFFFD", " c"].map((text) => ({ text, logprob: -1, top: [["x", -2]] }));
  const message = { content: "A b😀 c" };
  assert.deepEqual(beginningWith(message, tokens, 1, [" d", -2]), {
    content: "A d",
    tokens: [tokens[0], { text: " d", logprob: -2, top: [["x", -2]] }],
  });
  assert.equal(beginningWith(message, tokens, 4, [" d", -2]), null); // behind parts of a character
  for (const text of ["<|im_end|>", "</s>", "[INST]", "\uFFFD"])
    assert.equal(beginningWith(message, tokens, 1, [text, -2]), null);
  assert.equal(beginningWith(message, tokens, 0, ["\n", -2]), null); // nothing to go on with
  assert.equal(beginningWith({ ...message, reasoning: "r" }, tokens, 1, [" d", -2]), null);
  assert.equal(beginningWith({ content: "other" }, tokens, 1, [" d", -2]), null);
  assert.ok(Math.abs(perplexity([{ logprob: Math.log(0.5) }, { logprob: Math.log(0.125) }]) - 4) < 1e-9);
});

test("what is not set is not sent", () => {
  assert.deepEqual(requestFields({}), {});
  assert.deepEqual(requestFields({ system: "x", temperature: 0, thinking: false, tools: [] }), {
    temperature: 0,
    chat_template_kwargs: { enable_thinking: false },
  });
  const field = (name) => NUMBERS.find((each) => each.name === name);
  assert.deepEqual(readNumber(field("temperature"), " 0,5 "), { value: 0.5 });
  assert.deepEqual(readNumber(field("temperature"), " "), { value: undefined });
  for (const [name, text] of [
    ["temperature", "x"],
    ["temperature", "-1"],
    ["top_p", "1.1"],
    ["seed", "1.5"],
    ["max_tokens", "0"],
    ["top_k", "1e999"],
  ]) {
    assert.ok(readNumber(field(name), text).error, `${name} ${text}`);
  }
  assert.deepEqual(readTools(" "), { value: undefined });
  for (const text of ["{", "{}", "[1]", '[{"type": "function"}]']) assert.ok(readTools(text).error);
  assert.deepEqual(cleanSettings(null), {});
});

test("failures have a kind and words", () => {
  const headers = (value) => new Headers(value ? { "retry-after": value } : {});
  const of = (status, code, after) => errorOfResponse(status, { error: { message: "m", code } }, headers(after));
  const kinds = [
    [400, "context_length_exceeded"],
    [400, null],
    [401, "invalid_api_key"],
    [404, null],
    [429, null],
    [500, null],
    [503, "draining"],
  ];
  assert.deepEqual(
    kinds.map((each) => of(...each).kind),
    ["too-long", "refused", "key", "refused", "busy", "failed", "ending"],
  );
  assert.deepEqual(failureOf(of(429, null, "7")), { kind: "busy", text: "m", retryAfter: 7 });
  assert.equal(of(429, null, "Wed, 21 Oct 2015 07:28:00 GMT").retryAfter, null);
  assert.match(errorOfResponse(502, null, headers()).message, /502/);
  assert.equal(errorOfEvent({ message: "m", type: "server_error" }).kind, "failed");
  assert.equal(asRequestError(new TypeError("x"), { hasBegun: false }).kind, "unreachable");
  assert.equal(asRequestError(new TypeError("x"), { hasBegun: true }).kind, "cut");
  const own = new RequestError("busy", "m");
  assert.equal(asRequestError(own, { hasBegun: true }), own);
  assert.equal(titleOfFailure({ kind: "of a later page" }), "The server failed");
});
