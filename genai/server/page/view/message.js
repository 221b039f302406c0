/** One message: its text, reasoning and calls, what can be done with it, and its figures. */

import { branchOf, canContinue } from "../model/conversation.js";
import { titleOfFailure } from "../model/failures.js";
import { speakerOf } from "../model/transfer.js";
import { copyButton, element, icon, iconButton } from "./dom.js";
import { MarkdownView } from "./markdown.js";
import { TokensView } from "./tokens.js";

/**
 * Shows a message, again whenever `update` is called.
 *
 * `actions` is what can be done: edit(message, text), repeat(message), goOn(message), choose(message), takeToken(message,
 * content, tokens), giveResults(message, results), enterKey().
 */
export class MessageView {
  #actions;
  #body = null;
  #tokensView = null;
  #showsTokens = false;
  #isEdited = false;
  #reasoning = null;
  #parts;
  #state = {};

  constructor(message, actions, { showsTokens = false } = {}) {
    this.message = message;
    this.#showsTokens = showsTokens;
    this.#actions = actions;
    this.#parts = Object.fromEntries(
      ["before", "text", "after", "foot"].map((name) => [name, element("div", { class: `message-${name}` })]),
    );
    const label = message.role === "user" ? "You" : speakerOf(message);
    this.element = element(
      "article",
      { class: `message from-${message.role}`, "aria-label": label },
      Object.values(this.#parts),
    );
  }

  /** `state`: {conversation, tokens, isRunning: an answer is coming in this conversation, isLast}. */
  update(state) {
    this.#state = state;
    if (this.#isEdited) return;
    this.#showReasoning();
    this.#showText();
    this.#parts.after.replaceChildren(...this.#calls(), ...this.#failure());
    if (this.#isComing) this.#parts.foot.replaceChildren();
    else this.#showFoot();
  }

  get #isComing() {
    return this.message.role === "assistant" && !this.message.finish;
  }

  #showReasoning() {
    const { reasoning, content } = this.message;
    if (!reasoning) return;
    if (!this.#reasoning) {
      const view = new MarkdownView();
      const summary = element("summary");
      this.#reasoning = { view, summary };
      this.#parts.before.append(element("details", { class: "reasoning" }, summary, view.element));
    }
    this.#reasoning.summary.textContent = this.#isComing && !content ? "Thinking…" : "Reasoning";
    this.#reasoning.view.show(reasoning);
  }

  #showText() {
    const { role, content, reasoning } = this.message;
    const { text } = this.#parts;
    this.element.classList.toggle("is-coming", this.#isComing);
    if (role === "user") return text.replaceChildren(content);
    if (role === "tool")
      return text.replaceChildren(
        element("pre", { tabindex: "0", role: "region", "aria-label": "Result of the tool" }, content),
      );
    if (this.#showsTokens) {
      this.#tokensView ??= new TokensView({
        onTake: (beginning, tokens) => this.#actions.takeToken(this.message, beginning, tokens),
      });
      if (text.firstChild !== this.#tokensView.element) text.replaceChildren(this.#tokensView.element);
      return this.#tokensView.show(this.message, this.#state.tokens ?? []);
    }
    if (!content && this.#isComing) {
      this.#body = null;
      if (reasoning) return text.replaceChildren();
      if (!text.querySelector(".waiting")) text.replaceChildren(waiting());
      return undefined;
    }
    if (!this.#body || text.firstChild !== this.#body.element) {
      this.#body = new MarkdownView();
      text.replaceChildren(this.#body.element);
    }
    return this.#body.show(content);
  }

  #calls() {
    const calls = this.message.toolCalls ?? [];
    const shown = calls.map((call) =>
      element(
        "div",
        { class: "call" },
        element("p", { class: "call-name" }, "Calls ", element("code", {}, call.name)),
        element(
          "pre",
          { tabindex: "0", role: "region", "aria-label": `Arguments of ${call.name}` },
          indented(call.arguments),
        ),
      ),
    );
    const wantsResults = calls.length && this.#state.isLast && !this.#isComing && !this.#state.isRunning;
    return wantsResults ? [...shown, this.#resultsForm(calls)] : shown;
  }

  #resultsForm(calls) {
    const fields = calls.map((call) =>
      element("textarea", {
        rows: 2,
        "aria-label": `Result of ${call.name}`,
        placeholder: `What ${call.name} gives back`,
      }),
    );
    const give = (event) => {
      event.preventDefault();
      this.#actions.giveResults(
        this.message,
        fields.map((field) => field.value),
      );
    };
    return element(
      "form",
      { class: "results", on: { submit: give } },
      fields,
      element("button", { type: "submit", class: "button" }, "Give the model this"),
    );
  }

  #failure() {
    const { failure } = this.message;
    if (!failure) return [];
    const actions = [
      element(
        "button",
        { type: "button", class: "button", on: { click: () => this.#actions.repeat(this.message) } },
        "Try again",
      ),
    ];
    if (failure.kind === "key") {
      actions.unshift(
        element(
          "button",
          { type: "button", class: "button is-main", on: { click: () => this.#actions.enterKey() } },
          "Enter a key",
        ),
      );
    }
    const wait = failure.retryAfter ? ` Wait ${Math.ceil(failure.retryAfter)} s.` : "";
    return [
      element(
        "div",
        { class: "failure" },
        element("p", { class: "failure-title" }, titleOfFailure(failure)),
        element("p", {}, failure.text.replace(/[^.!?…]$/, "$&.") + wait),
        this.#state.isRunning ? null : element("div", { class: "failure-actions" }, actions),
      ),
    ];
  }

  #showFoot() {
    const { message } = this;
    const { conversation, isRunning } = this.#state;
    const { index, siblings } = branchOf(conversation, message);
    const branches = siblings.length > 1 ? [this.#branchSwitch(index, siblings)] : [];
    const buttons = message.role === "user" ? this.#questionButtons(isRunning) : this.#answerButtons(isRunning);
    const facts = message.role === "assistant" ? element("p", { class: "facts" }, factsOf(message)) : null;
    const focused = this.#parts.foot.contains(document.activeElement)
      ? document.activeElement.getAttribute("aria-label")
      : null;
    this.#parts.foot.replaceChildren(
      ...branches,
      element("div", { class: "actions" }, buttons),
      ...(facts ? [facts] : []),
    );
    if (focused) this.#parts.foot.querySelector(`[aria-label="${CSS.escape(focused)}"]`)?.focus();
  }

  #branchSwitch(index, siblings) {
    const isOff = this.#state.isRunning;
    const go = (step) => () => this.#actions.choose(siblings[index + step]);
    return element(
      "div",
      { class: "branches", role: "group", "aria-label": "Branches" },
      iconButton("previous", "Previous branch", go(-1), { disabled: isOff || index === 0 }),
      element("span", {}, `${index + 1} / ${siblings.length}`),
      iconButton("next", "Next branch", go(1), { disabled: isOff || index === siblings.length - 1 }),
    );
  }

  #questionButtons(isRunning) {
    const edit = iconButton("edit", "Edit, as a new branch", () => this.beginEdit(), { disabled: isRunning });
    return [copyButton("Copy message", () => this.message.content), edit];
  }

  #answerButtons(isRunning) {
    if (this.message.role === "tool") return [];
    const { message } = this;
    if (message.failure && !message.content) return []; // which offers to try again
    const copy = message.content ? [copyButton("Copy answer", () => message.content)] : [];
    const buttons = [
      ...copy,
      iconButton("repeat", "Answer again, as a new branch", () => this.#actions.repeat(message), {
        disabled: isRunning,
      }),
    ];
    if (this.#state.isLast && canContinue(message)) {
      buttons.push(
        element(
          "button",
          {
            type: "button",
            class: "button small",
            disabled: isRunning,
            on: { click: () => this.#actions.goOn(message) },
          },
          icon("go"),
          "Continue",
        ),
      );
    }
    if (this.#state.tokens?.length) buttons.push(this.#tokensButton());
    return buttons;
  }

  #tokensButton() {
    const toggle = () => {
      this.#showsTokens = !this.#showsTokens;
      this.update(this.#state);
    };
    return element(
      "button",
      {
        type: "button",
        class: "button small",
        "aria-label": "Show token probabilities",
        "aria-pressed": String(this.#showsTokens),
        on: { click: toggle },
      },
      icon("alternatives"),
      "Tokens",
    );
  }

  /** Put a field where the text is; sending it makes a branch. */
  beginEdit() {
    if (this.#isEdited) return;
    this.#isEdited = true;
    const field = element("textarea", { class: "edit-field", "aria-label": "Edited message", rows: 3 });
    field.value = this.message.content;
    const end = (text) => {
      this.#isEdited = false;
      this.update(this.#state);
      if (text?.trim()) this.#actions.edit(this.message, text);
    };
    const keys = (event) => {
      if (event.isComposing) return;
      if (event.key === "Escape") event.stopPropagation();
      if (event.key === "Escape") end(null);
      else if (event.key === "Enter" && !event.shiftKey) {
        event.preventDefault();
        end(field.value);
      }
    };
    field.addEventListener("keydown", keys);
    const buttons = element(
      "div",
      { class: "edit-actions" },
      element("button", { type: "button", class: "button", on: { click: () => end(null) } }, "Cancel"),
      element(
        "button",
        { type: "button", class: "button is-main", on: { click: () => end(field.value) } },
        "Send as a branch",
      ),
    );
    this.#parts.text.replaceChildren(field, buttons);
    this.#parts.foot.replaceChildren();
    field.focus();
    field.setSelectionRange(field.value.length, field.value.length);
  }
}

function waiting() {
  return element(
    "p",
    { class: "waiting", role: "img", "aria-label": "The answer has not begun yet" },
    element("i"),
    element("i"),
    element("i"),
  );
}

const ENDS = { length: "cut at its limit", stopped: "stopped", interrupted: "interrupted", cancelled: "cancelled" };

/** Return the parts of a line of figures. */
function factsOf({ model, finish, stats = {} }) {
  const facts = [model, ENDS[finish]];
  if (stats.completionTokens !== undefined) facts.push(`${count(stats.completionTokens)} tokens`);
  if (stats.tokensPerSecond !== undefined) facts.push(`${stats.tokensPerSecond.toFixed(1)} tokens/s`);
  if (stats.firstTokenSeconds !== undefined) facts.push(`first after ${seconds(stats.firstTokenSeconds)}`);
  if (stats.cachedTokens)
    facts.push(`${count(stats.cachedTokens)} of ${count(stats.promptTokens)} prompt tokens cached`);
  return facts.filter(Boolean).map((fact) => element("span", {}, fact));
}

function count(number) {
  return number.toLocaleString("en");
}

function seconds(number) {
  if (number < 1) return `${Math.round(number * 1000)} ms`;
  return number < 10 ? `${number.toFixed(1)} s` : `${Math.round(number)} s`;
}

function indented(json) {
  try {
    return JSON.stringify(JSON.parse(json), null, 2);
  } catch {
    return json;
  }
}
