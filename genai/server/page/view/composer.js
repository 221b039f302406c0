/** Where messages are written: a draft is kept with every letter, and its tokens are counted when the writing pauses. */

import { preferences } from "../preferences.js";

const COUNT_DELAY = 400; // milliseconds
const MAX_HEIGHT = 240; // pixels

export class Composer {
  #field;
  #button;
  #actions;
  #conversationId = "new";
  #counting = null;
  #timer = 0;
  #isRunning = false;

  /** `actions`: send(text), stop(), editLast(), count(text, signal), which shows what it found. */
  constructor({ form, field, button, actions }) {
    this.#field = field;
    this.#button = button;
    this.#actions = actions;
    field.addEventListener("input", () => this.#changed());
    field.addEventListener("keydown", (event) => this.#key(event));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      if (this.#isRunning) actions.stop();
      else this.#send();
    });
  }

  /** Show the draft of a conversation. */
  open(conversationId) {
    this.#conversationId = conversationId;
    this.#field.value = preferences.draftOf(conversationId);
    this.#fit();
    this.countSoon();
  }

  set(text) {
    this.#field.value = text;
    this.#changed();
    this.focus();
  }

  focus() {
    this.#field.focus();
  }

  show({ isRunning }) {
    this.#isRunning = isRunning;
    this.#button.classList.toggle("is-stop", isRunning);
    this.#button.setAttribute("aria-label", isRunning ? "Stop" : "Send");
    this.#button.title = isRunning ? "Stop (Esc)" : "Send (Enter)";
  }

  countSoon() {
    clearTimeout(this.#timer);
    this.#counting?.abort();
    this.#timer = setTimeout(() => {
      this.#counting = new AbortController();
      this.#actions.count(this.#field.value, this.#counting.signal);
    }, COUNT_DELAY);
  }

  #changed() {
    preferences.keepDraft(this.#conversationId, this.#field.value);
    this.#fit();
    this.countSoon();
  }

  #key(event) {
    if (event.isComposing) return;
    const breaksLine = event.shiftKey || matchMedia("(pointer: coarse)").matches;
    if (event.key === "Enter" && !breaksLine) {
      event.preventDefault();
      if (!this.#isRunning) this.#send();
    }
    if (event.key === "ArrowUp" && !this.#field.value && !this.#isRunning) {
      event.preventDefault();
      this.#actions.editLast();
    }
  }

  /** Send the draft, which is let go only once it is a message. */
  async #send() {
    const text = this.#field.value;
    if (!text.trim()) return;
    const draftOf = this.#conversationId;
    if (!(await this.#actions.send(text))) return;
    preferences.keepDraft(draftOf, "");
    if (this.#field.value === text) this.#field.value = "";
    this.#fit();
    this.countSoon();
  }

  #fit() {
    this.#field.style.height = "auto";
    this.#field.style.height = `${Math.min(this.#field.scrollHeight, MAX_HEIGHT)}px`;
  }
}
