/**
 * Conversations as trees of messages, of which one path is shown. An edited question and a repeated answer are branches.
 *
 * A conversation is a plain value, as it is stored:
 *   {id, title, created, updated, model, settings, messages: [message], chosen: {parent id or "": child id}}
 * and so is a message:
 *   {id, parent, role: "user" | "assistant" | "tool", content, created, and for answers: model, finish, failure, reasoning,
 *    toolCalls: [{id, name, arguments}], stats; for a tool's: toolCallId}
 */

/** How an answer has ended; `null` is one that still comes. */
export const FINISHES = ["stop", "length", "tool_calls", "cancelled", "stopped", "interrupted", "failed"];
const MAX_TITLE = 60;

export function newConversation({ now, model = null, settings = {} }) {
  return {
    id: newId(),
    title: "",
    created: now,
    updated: now,
    model,
    settings: structuredClone(settings),
    messages: [],
    chosen: {},
  };
}

export function newId() {
  const bytes = crypto.getRandomValues(new Uint8Array(12)); // randomUUID is missing where a page came without TLS
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Add a message behind its parent (`null` is the beginning), show it, and return it. */
export function addMessage(conversation, { now, ...fields }) {
  const message = { id: newId(), parent: null, content: "", created: now, ...fields };
  conversation.messages.push(message);
  conversation.updated = now;
  choose(conversation, message);
  return message;
}

/** Take out a message that nothing follows. */
export function removeMessage(conversation, message) {
  conversation.messages = conversation.messages.filter((each) => each !== message);
  const siblings = childrenOf(conversation, message.parent);
  if (siblings.length) choose(conversation, siblings.at(-1));
  else delete conversation.chosen[message.parent ?? ""];
}

export function childrenOf(conversation, parent) {
  return conversation.messages.filter((message) => message.parent === parent);
}

/** Show the branch on which a message stands. */
export function choose(conversation, message) {
  conversation.chosen[message.parent ?? ""] = message.id;
}

/** Return the messages from the beginning to the end of what is shown. */
export function shownPath(conversation) {
  const path = [];
  let parent = null;
  for (;;) {
    const children = childrenOf(conversation, parent);
    if (!children.length) return path;
    const next = children.find((each) => each.id === conversation.chosen[parent ?? ""]) ?? children.at(-1);
    path.push(next);
    parent = next.id;
  }
}

/** Return the messages up to one, itself included. */
export function pathTo(conversation, message) {
  const path = [];
  for (let each = message; each; each = conversation.messages.find((other) => other.id === each.parent)) {
    path.unshift(each);
  }
  return path;
}

/** Return a message's place among those that answer, or ask, the same: {index from 0, siblings}. */
export function branchOf(conversation, message) {
  const siblings = childrenOf(conversation, message.parent);
  return { index: siblings.indexOf(message), siblings };
}

/**
 * Return messages as a request has them, behind the system prompt. An answer that never came is left out, and the questions
 * around it become one, since many templates want both sides to take turns.
 */
export function requestMessages(path, system = "") {
  const messages = system.trim() ? [{ role: "system", content: system }] : [];
  for (const message of path) {
    const isEmpty = !message.content && !message.toolCalls?.length;
    if (message.role === "assistant" && isEmpty) continue;
    const last = messages.at(-1);
    if (message.role === "user" && last?.role === "user") last.content += `\n\n${message.content}`;
    else messages.push(requestMessage(message));
  }
  return messages;
}

function requestMessage(message) {
  const sent = { role: message.role, content: message.content };
  if (message.role === "tool") sent.tool_call_id = message.toolCallId;
  if (message.toolCalls?.length) {
    sent.tool_calls = message.toolCalls.map((call) => ({
      id: call.id,
      type: "function",
      function: { name: call.name, arguments: call.arguments },
    }));
  }
  return sent;
}

/** Whether an answer ended before the model was done, so that it can be gone on with. */
export function canContinue(message) {
  const isCut = ["length", "stopped", "interrupted", "failed", "cancelled"].includes(message.finish);
  return message.role === "assistant" && isCut && Boolean(message.content.trim());
}

/** Return what a conversation is called: its own title, else how it begins. */
export function titleOf(conversation) {
  const first = conversation.messages.find((message) => message.role === "user")?.content ?? "";
  const line = conversation.title || first.trim().split("\n", 1)[0];
  const characters = [...line];
  return characters.length > MAX_TITLE
    ? `${characters.slice(0, MAX_TITLE).join("").trimEnd()}…`
    : line || "New conversation";
}

/** Mark answers as cut that were still coming when the page went away; return whether there were any. */
export function markInterrupted(conversation) {
  const cut = conversation.messages.filter((message) => message.role === "assistant" && !message.finish);
  for (const message of cut) message.finish = "interrupted";
  return cut.length > 0;
}

/** Return what of a conversation has some text: `null`, or a piece around it ("" where the title has it). */
export function findText(conversation, text) {
  const wanted = text.trim().toLowerCase();
  if (titleOf(conversation).toLowerCase().includes(wanted)) return "";
  for (const { content } of conversation.messages) {
    const at = content.toLowerCase().indexOf(wanted);
    if (at >= 0) {
      const start = Math.max(0, at - 24);
      return `${start ? "…" : ""}${content.slice(start, at + wanted.length + 40).replace(/\s+/g, " ")}`;
    }
  }
  return null;
}
