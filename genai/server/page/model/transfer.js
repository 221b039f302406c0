/** Conversations as files: JSON, which can be read again, and Markdown for people. A file is a stranger's until it was looked at. */

import { FINISHES, newId, shownPath, titleOf } from "./conversation.js";
import { FAILURE_KINDS } from "./failures.js";
import { cleanSettings } from "./settings.js";

const FORMAT = "genai-conversations";
const VERSION = 1;
const ROLES = ["user", "assistant", "tool"];

/** Return the text of a file that holds conversations: [{conversation, tokens: Map from a message's id}]. */
export function exportText(entries) {
  const conversations = entries.map(({ conversation, tokens }) => ({
    ...conversation,
    messages: conversation.messages.map((message) => {
      const known = tokens.get(message.id);
      return known?.length ? { ...message, tokens: known } : message;
    }),
  }));
  return JSON.stringify({ format: FORMAT, version: VERSION, conversations }, null, 1);
}

/**
 * Return what a file holds, as `exportText` takes it. Unknown fields are dropped.
 *
 * Throws an Error with a sentence for people where it is no such file.
 */
export function importText(text) {
  let file;
  try {
    file = JSON.parse(text);
  } catch {
    throw new Error("This file is not JSON.");
  }
  if (file?.format !== FORMAT || !Array.isArray(file.conversations)) {
    throw new Error("This file holds no conversations of this page.");
  }
  if (file.version !== VERSION) throw new Error("This file was written by a newer page.");
  return file.conversations.map((given) => ({
    conversation: readConversation(given),
    tokens: readAllTokens(given),
  }));
}

/** Return those of some conversations that are not there yet, as they are; one that went on differently gets another id. */
export function newAmong(entries, present) {
  const known = new Map(present.map((conversation) => [conversation.id, conversation.updated]));
  const isNew = ({ conversation }) => known.get(conversation.id) !== conversation.updated;
  return entries.filter(isNew).map(({ conversation, tokens }) => {
    const id = known.has(conversation.id) ? newId() : conversation.id;
    known.set(id, conversation.updated);
    return { conversation: { ...conversation, id }, tokens };
  });
}

/** Return what is shown of a conversation as Markdown. */
export function markdownOf(conversation) {
  const parts = [`# ${titleOf(conversation)}`];
  if (conversation.settings.system) parts.push(`**System**\n\n${conversation.settings.system}`);
  for (const message of shownPath(conversation)) {
    parts.push(
      `**${speakerOf(message)}**\n\n${[message.content, ...(message.toolCalls ?? []).map(callText)].filter(Boolean).join("\n\n")}`,
    );
  }
  return `${parts.join("\n\n")}\n`;
}

/** Return who wrote a message. */
export function speakerOf(message) {
  return { user: "You", tool: "Tool" }[message.role] ?? message.model ?? "Assistant";
}

/** Return the beginning of a file's name. */
export function fileNameOf(conversation) {
  const words = titleOf(conversation)
    .normalize("NFKD")
    .toLowerCase()
    .replace(/[^\p{Letter}\p{Number}]+/gu, "-");
  return words.replace(/^-+|-+$/g, "").slice(0, 40) || "conversation";
}

function callText(call) {
  return `\`\`\`json\n${JSON.stringify({ name: call.name, arguments: call.arguments })}\n\`\`\``;
}

function readConversation(given) {
  const id = textOf(given?.id, "a conversation's id");
  const conversation = {
    id,
    title: typeof given.title === "string" ? given.title : "",
    created: numberOf(given.created),
    updated: numberOf(given.updated),
    model: typeof given.model === "string" ? given.model : null,
    settings: cleanSettings(given.settings),
    messages: listOf(given.messages).map(readMessage),
    chosen: {},
  };
  checkTree(conversation.messages);
  const ids = new Set(conversation.messages.map((message) => message.id));
  for (const message of conversation.messages) {
    for (const parent of [message.id, ""]) {
      const child = Object.hasOwn(given.chosen ?? {}, parent) ? given.chosen[parent] : null;
      if (ids.has(child)) conversation.chosen[parent] = child;
    }
  }
  return conversation;
}

/** Refuse messages that answer themselves or what is not there: each has to stand behind its parent. */
function checkTree(messages) {
  const seen = new Set([null]);
  for (const { id, parent } of messages) {
    if (seen.has(id) || !seen.has(parent))
      throw new Error("This file is damaged: its messages do not fit together.");
    seen.add(id);
  }
}

function readMessage(given) {
  if (!ROLES.includes(given?.role)) throw new Error("This file is damaged: a message is from nobody.");
  const message = {
    id: textOf(given.id, "a message's id"),
    parent: given.parent === null ? null : textOf(given.parent, "a message's place"),
    role: given.role,
    content: typeof given.content === "string" ? given.content : "",
    created: numberOf(given.created),
  };
  if (given.role === "tool") message.toolCallId = textOf(given.toolCallId, "the call of a tool's message");
  if (given.role !== "assistant") return message;
  message.finish = FINISHES.includes(given.finish) ? given.finish : "interrupted";
  for (const name of ["model", "reasoning"]) if (typeof given[name] === "string") message[name] = given[name];
  if (FAILURE_KINDS.includes(given.failure?.kind)) {
    message.failure = { kind: given.failure.kind, text: String(given.failure.text ?? "") };
  }
  if (Array.isArray(given.toolCalls)) message.toolCalls = given.toolCalls.map(readCall);
  if (given.stats && typeof given.stats === "object") message.stats = readStats(given.stats);
  return message;
}

function readCall(given) {
  return {
    id: String(given?.id ?? ""),
    name: String(given?.name ?? ""),
    arguments: String(given?.arguments ?? ""),
  };
}

function readStats(given) {
  const names = ["promptTokens", "completionTokens", "cachedTokens", "firstTokenSeconds", "tokensPerSecond"];
  return Object.fromEntries(
    names.filter((name) => Number.isFinite(given[name])).map((name) => [name, given[name]]),
  );
}

function readAllTokens(given) {
  const messages = given.messages.filter((message) => Array.isArray(message.tokens) && message.tokens.length);
  return new Map(messages.map((message) => [message.id, message.tokens.map(readToken)]));
}

function readToken(given) {
  const pairs = Array.isArray(given?.top) ? given.top.filter((pair) => Array.isArray(pair)) : [];
  return {
    text: String(given?.text ?? ""),
    logprob: numberOf(given?.logprob),
    top: pairs.map(([text, logprob]) => [String(text), numberOf(logprob)]),
  };
}

function listOf(value) {
  if (!Array.isArray(value)) throw new Error("This file is damaged: a conversation has no messages.");
  return value;
}

function textOf(value, what) {
  if (typeof value !== "string" || !value || value === "__proto__")
    throw new Error(`This file is damaged: ${what} is missing.`);
  return value;
}

function numberOf(value) {
  return Number.isFinite(value) ? value : 0;
}
