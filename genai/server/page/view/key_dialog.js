/** Asks for the server's key, and tries it. */

import { serverKey } from "../preferences.js";

export class KeyDialog {
  #dialog;
  #field;
  #keep;
  #problem;
  #tryKey;
  #onEntered;

  /** `tryKey()` asks the server for something, whose answer `onEntered` is given. */
  constructor({ dialog, tryKey, onEntered }) {
    this.#dialog = dialog;
    this.#field = dialog.querySelector("#key");
    this.#keep = dialog.querySelector("#keep-key");
    this.#problem = dialog.querySelector("#key-problem");
    this.#tryKey = tryKey;
    this.#onEntered = onEntered;
    dialog.querySelector("form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#enter();
    });
    dialog.querySelector(".cancel").addEventListener("click", () => dialog.close());
  }

  open() {
    if (this.#dialog.open) return;
    this.#say(serverKey.value ? "The key that was given is not known to the server." : "");
    this.#field.value = "";
    this.#keep.checked = serverKey.isKept;
    this.#dialog.showModal();
  }

  async #enter() {
    serverKey.set(this.#field.value.trim(), { keep: this.#keep.checked });
    try {
      const answer = await this.#tryKey();
      this.#dialog.close();
      this.#onEntered(answer);
    } catch (error) {
      if (error.kind === "key") serverKey.set("", { keep: false });
      this.#say(error.message);
      this.#field.focus();
    }
  }

  #say(text) {
    this.#problem.textContent = text;
    this.#problem.hidden = !text;
    this.#field.setAttribute("aria-invalid", String(Boolean(text)));
  }
}
