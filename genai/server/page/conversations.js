/** All conversations of this browser, in memory and in the store, and what other windows do to them. */

import { markInterrupted } from "./model/conversation.js";
import { exportText, importText, newAmong } from "./model/transfer.js";

export class Conversations {
  #store;
  #all = new Map();
  #tokens = new Map();
  #channel = "BroadcastChannel" in window ? new BroadcastChannel("genai") : null;
  #onChange;
  #onUnsaved;

  /** `onChange(id)` is told what another window has changed, `onUnsaved()` where something could not be stored. */
  constructor(store, { onChange, onUnsaved }) {
    this.#store = store;
    this.#onChange = onChange;
    this.#onUnsaved = onUnsaved;
    this.#channel?.addEventListener("message", (event) => this.#reload(event.data));
  }

  async load() {
    for (const conversation of await this.#store.all()) this.#all.set(conversation.id, conversation);
  }

  get all() {
    return [...this.#all.values()];
  }

  get(id) {
    return this.#all.get(id);
  }

  /** Return the tokens of a conversation's answers: a Map from a message's id, which grows as answers come. */
  async tokensOf(id) {
    if (!this.#tokens.has(id)) this.#tokens.set(id, await this.#store.tokensOf(id));
    return this.#tokens.get(id);
  }

  async put(conversation, tokens = new Map()) {
    this.#all.set(conversation.id, conversation);
    if (!this.#tokens.has(conversation.id)) this.#tokens.set(conversation.id, new Map());
    for (const [id, list] of tokens) this.#tokens.get(conversation.id).set(id, list);
    await this.#stored(this.#store.put(conversation, tokens), conversation.id);
  }

  /** Take a conversation away, and return what `restore` brings it back from. */
  async remove(conversation) {
    const tokens = await this.tokensOf(conversation.id);
    this.#all.delete(conversation.id);
    this.#tokens.delete(conversation.id);
    await this.#stored(this.#store.delete(conversation.id), conversation.id);
    return { conversation, tokens };
  }

  restore({ conversation, tokens }) {
    return this.put(conversation, tokens);
  }

  /** Return the text of a file with some conversations. */
  async export(conversations) {
    const entries = conversations.map(async (conversation) => ({
      conversation,
      tokens: await this.tokensOf(conversation.id),
    }));
    return exportText(await Promise.all(entries));
  }

  /** Take in a file's conversations that are not here yet, and return them; throws an Error that says why not. */
  async import(text) {
    const entries = newAmong(importText(text), this.all);
    for (const { conversation, tokens } of entries) await this.put(conversation, tokens);
    return entries.map(({ conversation }) => conversation);
  }

  async #stored(storing, id) {
    try {
      await storing;
      this.#channel?.postMessage(id);
    } catch {
      this.#onUnsaved();
    }
  }

  async #reload(id) {
    const conversation = await this.#store.get(id);
    this.#tokens.delete(id);
    if (conversation) this.#all.set(id, conversation);
    else this.#all.delete(id);
    this.#onChange(id);
  }

  /** Mark what was still coming when this browser's page went away; another window's answers look the same, and come back. */
  async settle(id) {
    const conversation = this.get(id);
    if (markInterrupted(conversation)) await this.put(conversation);
  }
}
