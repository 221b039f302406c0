/** What this browser keeps beside the conversations: small things that must be there at once, or written before the page is gone. */

const PREFIX = "genai.";

/** The scheme of colours ("light", "dark" or "" for the machine's), whether probabilities are asked for, the last model, drafts. */
export const preferences = {
  get theme() {
    return read("theme", "");
  },
  set theme(value) {
    write("theme", value);
  },
  get asksForProbabilities() {
    return read("probabilities", "yes") === "yes";
  },
  set asksForProbabilities(value) {
    write("probabilities", value ? "yes" : "no");
  },
  get model() {
    return read("model", "");
  },
  set model(value) {
    write("model", value);
  },
  draftOf(conversationId) {
    return read(`draft.${conversationId}`, "");
  },
  keepDraft(conversationId, text) {
    write(`draft.${conversationId}`, text);
  },
};

/** The key for the server: in this page alone, unless it is to be kept. */
let key = read("key", "");

export const serverKey = {
  get value() {
    return key;
  },
  get isKept() {
    return read("key", "") !== "";
  },
  set(value, { keep }) {
    key = value;
    write("key", keep ? value : "");
  },
};

function read(name, otherwise) {
  try {
    return localStorage.getItem(PREFIX + name) ?? otherwise;
  } catch {
    return otherwise; // a browser may be told to keep nothing
  }
}

function write(name, value) {
  try {
    if (value) localStorage.setItem(PREFIX + name, value);
    else localStorage.removeItem(PREFIX + name);
  } catch {
    // as above, or it is full: then it holds until the page is closed
  }
}
