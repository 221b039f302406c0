/** What the page says beside the conversation: short notes that go by themselves, and words for those who listen to it. */

import { element } from "./dom.js";

const SECONDS = 10;

/** Show a note, with an action that it offers as long as it is there: {label, act}. */
export function showNote(text, action = null) {
  const note = element("div", { class: "note", role: "status" }, element("span", {}, text));
  const timer = setTimeout(() => note.remove(), SECONDS * 1000);
  if (action) {
    const act = () => {
      clearTimeout(timer);
      note.remove();
      action.act();
    };
    note.append(element("button", { type: "button", class: "button small", on: { click: act } }, action.label));
  }
  document.getElementById("notes").replaceChildren(note);
}

/** Say something to who listens to the page. */
export function announce(text) {
  document.getElementById("announcements").textContent = text;
}
