import assert from "node:assert/strict";
import { test } from "node:test";

const page = (name) => import(`${process.env.PAGE}/model/${name}.js`);
const tree = await page("conversation");
const { exportText, importText, newAmong, markdownOf, fileNameOf } = await page("transfer");

let now = 0;
const say = (conversation, role, parent, content, more = {}) =>
  tree.addMessage(conversation, {
    now: ++now,
    role,
    parent: parent?.id ?? null,
    content,
    finish: role === "assistant" ? "stop" : undefined,
    ...more,
  });
const shown = (conversation) => tree.shownPath(conversation).map((message) => message.content);

function branched() {
  const conversation = tree.newConversation({ now: ++now });
  const question = say(conversation, "user", null, "q");
  const first = say(conversation, "assistant", question, "a1");
  const follow = say(conversation, "user", first, "q2");
  say(conversation, "assistant", follow, "b");
  const second = say(conversation, "assistant", question, "a2");
  const edited = say(conversation, "user", null, "Q");
  return { conversation, question, first, second, edited };
}

test("the newest branch is shown, and every other can be", () => {
  const { conversation, question, first, second } = branched();
  assert.deepEqual(shown(conversation), ["Q"]);
  tree.choose(conversation, question);
  assert.deepEqual(shown(conversation), ["q", "a2"]);
  tree.choose(conversation, first);
  assert.deepEqual(shown(conversation), ["q", "a1", "q2", "b"]);
  assert.deepEqual(tree.branchOf(conversation, second), { index: 1, siblings: [first, second] });
  assert.deepEqual(
    tree.pathTo(conversation, second).map((each) => each.content),
    ["q", "a2"],
  );
});

test("a message that is taken out gives way to its neighbour", () => {
  const { conversation, question, second, edited } = branched();
  tree.removeMessage(conversation, edited);
  assert.deepEqual(shown(conversation), ["q", "a2"]);
  tree.removeMessage(conversation, second);
  assert.deepEqual(shown(conversation), ["q", "a1", "q2", "b"]);
  const alone = tree.newConversation({ now });
  tree.removeMessage(alone, say(alone, "user", null, "x"));
  assert.deepEqual([shown(alone), alone.chosen], [[], {}]);
  assert.ok(question);
});

test("what a request has", () => {
  const calls = [{ id: "c", name: "f", arguments: "{}" }];
  const path = [
    { role: "user", content: "one" },
    { role: "assistant", content: "" },
    { role: "user", content: "two" },
    { role: "assistant", content: "", toolCalls: calls },
    { role: "tool", content: "3", toolCallId: "c" },
  ];
  assert.deepEqual(tree.requestMessages(path, " "), [
    { role: "user", content: "one\n\ntwo" },
    {
      role: "assistant",
      content: "",
      tool_calls: [{ id: "c", type: "function", function: { name: "f", arguments: "{}" } }],
    },
    { role: "tool", content: "3", tool_call_id: "c" },
  ]);
  assert.deepEqual(tree.requestMessages(path.slice(0, 1), "Be kind")[0], { role: "system", content: "Be kind" });
  assert.equal(path[0].content, "one");
});

test("titles and what is found", () => {
  const conversation = tree.newConversation({ now });
  assert.equal(tree.titleOf(conversation), "New conversation");
  const question = say(conversation, "user", null, `  ${"é😀".repeat(60)}\nmore`);
  assert.equal([...tree.titleOf(conversation)].length, 61);
  say(
    conversation,
    "assistant",
    question,
    "far, far away, in another country, there is a needle in a stack of hay",
  );
  assert.match(tree.findText(conversation, "NEEDLE "), /^….*needle in a/);
  assert.equal(tree.findText(conversation, "é😀"), "");
  assert.equal(tree.findText(conversation, "nothing"), null);
});

test("which answers can be gone on with", () => {
  const answer = (finish, content = "x") => tree.canContinue({ role: "assistant", finish, content });
  assert.deepEqual(
    ["length", "stopped", "interrupted", "failed", "cancelled"].map((finish) => answer(finish)),
    Array(5).fill(true),
  );
  assert.deepEqual(
    [answer("stop"), answer(null), answer("length", " "), tree.canContinue({ role: "user", content: "x" })],
    Array(4).fill(false),
  );
});

test("a file gives back what was put in", () => {
  const { conversation, first } = branched();
  const tokens = new Map([
    [
      first.id,
      [
        {
          text: "a1",
          logprob: -0.5,
          top: [
            ["a1", -0.5],
            ["x", -1],
          ],
        },
      ],
    ],
  ]);
  const plain = JSON.parse(JSON.stringify(conversation));
  const [entry] = importText(exportText([{ conversation, tokens }]));
  assert.deepEqual(entry, { conversation: plain, tokens });
  assert.deepEqual(newAmong([entry], [conversation]), []);
  const [other] = newAmong([entry], [{ ...conversation, updated: 0 }]);
  assert.notEqual(other.conversation.id, conversation.id);
  assert.deepEqual(other.conversation.messages, plain.messages);
});

test("damaged files are refused, whatever is wrong", () => {
  const message = { id: "a", parent: null, role: "user", content: "x" };
  const file = (conversation) =>
    JSON.stringify({ format: "genai-conversations", version: 1, conversations: [conversation] });
  const bad = [
    null,
    {},
    { id: 1, messages: [] },
    { id: "__proto__", messages: [] },
    { id: "c", messages: [null] },
    { id: "c", messages: [{ ...message, role: "system" }] },
    { id: "c", messages: [{ ...message, parent: "a" }] },
    {
      id: "c",
      messages: [
        { ...message, parent: "b" },
        { ...message, id: "b", parent: "a" },
      ],
    },
    { id: "c", messages: [message, message] },
    { id: "c", messages: [{ ...message, role: "tool" }] },
  ];
  for (const conversation of bad)
    assert.throws(() => importText(file(conversation)), /damaged/, JSON.stringify(conversation));
  const [{ conversation }] = importText(
    file({ id: "c", messages: [{ ...message, extra: 1 }], settings: { top_p: 9, seed: 3, x: 1 }, chosen: 5 }),
  );
  assert.deepEqual(
    [conversation.messages[0].extra, conversation.settings, conversation.chosen],
    [undefined, { seed: 3 }, {}],
  );
});

test("as Markdown", () => {
  const { conversation } = branched();
  conversation.settings.system = "Rules.";
  assert.equal(markdownOf(conversation), "# q\n\n**System**\n\nRules.\n\n**You**\n\nQ\n");
  assert.equal(fileNameOf(conversation), "q");
  assert.equal(fileNameOf({ ...conversation, title: "../Ünï / 漢字?" }), "u-ni-漢字".normalize("NFKD"));
  assert.equal(fileNameOf({ ...conversation, title: "?!" }), "conversation");
});
