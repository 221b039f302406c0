/** The list of conversations: search, open, rename, delete. */

import { findText, titleOf } from "../model/conversation.js";
import { element, iconButton } from "./dom.js";

const DAY = 86_400_000; // milliseconds

export class Sidebar {
  #actions;
  #list;
  #search;
  #state = { conversations: [], current: null };
  #renamed = null;

  /** `actions`: open(id), rename(conversation, title), remove(conversation). */
  constructor({ list, search, actions }) {
    this.#actions = actions;
    this.#list = list;
    this.#search = search;
    search.addEventListener("input", () => this.#show());
    search.addEventListener("keydown", (event) => this.#searchKey(event));
  }

  update(state) {
    this.#state = state;
    if (this.#renamed === null) this.#show();
  }

  #searchKey(event) {
    if (event.key === "Escape" && this.#search.value) {
      event.stopPropagation();
      this.#search.value = "";
      this.#show();
    }
    if (event.key === "Enter" && !event.isComposing) this.#list.querySelector(".open")?.click();
  }

  #show() {
    const wanted = this.#search.value.trim();
    const sorted = [...this.#state.conversations].sort((a, b) => b.updated - a.updated);
    const found = sorted
      .map((conversation) => ({ conversation, piece: wanted ? findText(conversation, wanted) : "" }))
      .filter(({ piece }) => piece !== null);
    const focused = this.#list.contains(document.activeElement) ? document.activeElement.dataset.key : null;
    this.#list.replaceChildren(
      ...(found.length
        ? this.#groups(found)
        : [
            element("p", { class: "list-empty" }, wanted ? "Nothing found" : "Conversations stay in this browser."),
          ]),
    );
    if (focused) this.#list.querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus();
  }

  #groups(found) {
    const groups = Map.groupBy(found, ({ conversation }) => ageOf(conversation.updated, Date.now()));
    return [...groups].map(([age, entries]) =>
      element(
        "section",
        {},
        element("h2", { class: "list-age" }, age),
        element(
          "ul",
          {},
          entries.map(({ conversation, piece }) => this.#entry(conversation, piece)),
        ),
      ),
    );
  }

  #entry(conversation, piece) {
    if (this.#renamed === conversation.id) return element("li", {}, this.#renameField(conversation));
    const title = titleOf(conversation);
    const isCurrent = conversation.id === this.#state.current;
    const open = element(
      "button",
      {
        type: "button",
        class: "open",
        "aria-current": isCurrent ? "page" : null,
        data: { key: conversation.id },
        title,
        on: { click: () => this.#actions.open(conversation.id) },
      },
      element("span", { class: "open-title" }, title),
      piece ? element("span", { class: "open-piece" }, piece) : null,
    );
    const rename = iconButton("edit", `Rename “${title}”`, () => this.#beginRename(conversation), {
      data: { key: `rename ${conversation.id}` },
    });
    const remove = iconButton("trash", `Delete “${title}”`, () => this.#actions.remove(conversation), {
      data: { key: `delete ${conversation.id}` },
    });
    return element(
      "li",
      { class: isCurrent ? "entry is-current" : "entry" },
      open,
      element("span", { class: "entry-actions" }, rename, remove),
    );
  }

  #beginRename(conversation) {
    this.#renamed = conversation.id;
    this.#show();
    this.#list.querySelector(".rename")?.select();
  }

  #renameField(conversation) {
    const field = element("input", { class: "rename", "aria-label": "Title", maxlength: 200 });
    field.value = titleOf(conversation);
    const end = (isKept) => {
      if (this.#renamed === null) return;
      this.#renamed = null;
      if (isKept && field.value.trim() !== titleOf(conversation))
        this.#actions.rename(conversation, field.value.trim());
      this.#show();
      this.#list.querySelector(`[data-key="rename ${conversation.id}"]`)?.focus();
    };
    field.addEventListener("keydown", (event) => {
      if (event.isComposing || !["Enter", "Escape"].includes(event.key)) return;
      event.stopPropagation();
      end(event.key === "Enter");
    });
    field.addEventListener("blur", () => end(true));
    return field;
  }
}

function ageOf(time, now) {
  const today = new Date(now).setHours(0, 0, 0, 0);
  if (time >= today) return "Today";
  if (time >= today - DAY) return "Yesterday";
  return time >= today - 7 * DAY ? "This week" : "Earlier";
}
