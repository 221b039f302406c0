/**
 * Where conversations are kept: IndexedDB, since the tokens of an answer with their alternatives take more than localStorage
 * has room for, and writing there would hold up the page. Conversations are one record each; the tokens of each answer are
 * records of their own, which are read when a conversation is opened.
 */

const CONVERSATIONS = "conversations";
const TOKENS = "tokens";

/** Return the store; one that forgets, where the browser keeps nothing. */
export async function openStore() {
  try {
    const opening = indexedDB.open("genai", 1);
    opening.onupgradeneeded = () => {
      opening.result.createObjectStore(CONVERSATIONS, { keyPath: "id" });
      opening.result.createObjectStore(TOKENS);
    };
    return new BrowserStore(await done(opening));
  } catch {
    return new PassingStore();
  }
}

class BrowserStore {
  isKept = true;
  #database;

  constructor(database) {
    this.#database = database;
  }

  all() {
    return done(this.#database.transaction(CONVERSATIONS).objectStore(CONVERSATIONS).getAll());
  }

  get(id) {
    return done(this.#database.transaction(CONVERSATIONS).objectStore(CONVERSATIONS).get(id));
  }

  /** Return the tokens of a conversation's answers, by the ids of the messages. */
  async tokensOf(id) {
    const store = this.#database.transaction(TOKENS).objectStore(TOKENS);
    const [keys, values] = await Promise.all([
      done(store.getAllKeys(rangeOf(id))),
      done(store.getAll(rangeOf(id))),
    ]);
    return new Map(keys.map((key, index) => [key[1], values[index]]));
  }

  /** Keep a conversation, and the tokens of those of its answers that are given. */
  put(conversation, tokens = new Map()) {
    const transaction = this.#database.transaction([CONVERSATIONS, TOKENS], "readwrite");
    transaction.objectStore(CONVERSATIONS).put(conversation);
    for (const [messageId, list] of tokens) transaction.objectStore(TOKENS).put(list, [conversation.id, messageId]);
    return ended(transaction);
  }

  delete(id) {
    const transaction = this.#database.transaction([CONVERSATIONS, TOKENS], "readwrite");
    transaction.objectStore(CONVERSATIONS).delete(id);
    transaction.objectStore(TOKENS).delete(rangeOf(id));
    return ended(transaction);
  }
}

/** Keeps conversations as long as the page is open. */
class PassingStore {
  isKept = false;
  #conversations = new Map();
  #tokens = new Map();

  async all() {
    return [...this.#conversations.values()];
  }

  async get(id) {
    return this.#conversations.get(id);
  }

  async tokensOf(id) {
    return new Map(this.#tokens.get(id));
  }

  async put(conversation, tokens = new Map()) {
    this.#conversations.set(conversation.id, conversation);
    this.#tokens.set(conversation.id, new Map([...(this.#tokens.get(conversation.id) ?? []), ...tokens]));
  }

  async delete(id) {
    this.#conversations.delete(id);
    this.#tokens.delete(id);
  }
}

/** All keys [id, message's id]: an array sorts behind every text. */
function rangeOf(id) {
  return IDBKeyRange.bound([id], [id, []]);
}

function done(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

function ended(transaction) {
  return new Promise((resolve, reject) => {
    transaction.oncomplete = () => resolve();
    transaction.onabort = transaction.onerror = () => reject(transaction.error);
  });
}
