/**
 * An answer as its tokens: the colour of each says how likely the model held it, and a card what it might have said instead.
 * The tokens are one stop of the Tab key; arrows go from one to the next.
 */

import { beginningWith, perplexity } from "../model/answer.js";
import { newId } from "../model/conversation.js";
import { element } from "./dom.js";

const NUM_SHADES = 6;

export class TokensView {
  #message = null;
  #tokens = [];
  #shown = 0;
  #card;
  #list;
  #summary;
  #onTake;

  /** `onTake(content, tokens)` is called with the beginning of an answer that takes another token. */
  constructor({ onTake }) {
    this.#onTake = onTake;
    this.#summary = element("p", { class: "tokens-summary" });
    this.#list = element("div", {
      class: "token-list",
      role: "group",
      "aria-label": "Tokens of the answer; arrow keys go from one to the next",
      on: {
        pointerover: (event) => event.pointerType === "mouse" && this.#open(event.target),
        focusin: (event) => this.#open(event.target),
        keydown: (event) => this.#move(event),
      },
    });
    this.#card = element("div", { class: "token-card", id: `card-${newId()}`, hidden: true });
    const on = {
      pointerleave: () => this.element.contains(document.activeElement) || this.#close(),
      focusout: (event) => this.element.contains(event.relatedTarget) || this.#close(),
      keydown: (event) => this.#escape(event),
    };
    new ResizeObserver(() => this.#place()).observe(this.#list);
    this.element = element("div", { class: "tokens", on }, this.#summary, this.#list, this.#card);
  }

  /** Show tokens, of which those that were shown before are the beginning. */
  show(message, tokens) {
    if (tokens !== this.#tokens || this.#shown > tokens.length) this.#clear();
    this.#message = message;
    this.#tokens = tokens;
    for (; this.#shown < tokens.length; this.#shown += 1)
      this.#list.append(this.#tokenElement(tokens[this.#shown], this.#shown));
    this.#summary.replaceChildren(...summary(tokens));
  }

  #clear() {
    this.#list.replaceChildren();
    this.#shown = 0;
    this.#close();
  }

  #tokenElement(token, index) {
    const label = `${spoken(token.text)}, ${percent(token.logprob)}`;
    return element(
      "span",
      {
        class: `token shade-${shadeOf(token.logprob)}`,
        role: "button",
        tabindex: index === 0 ? "0" : "-1",
        "aria-label": label,
        data: { index },
      },
      visible(token.text),
    );
  }

  #open(target) {
    const shown = target.closest?.(".token");
    if (!shown) return;
    const index = Number(shown.dataset.index);
    this.#close();
    shown.classList.add("is-open");
    shown.setAttribute("aria-describedby", this.#card.id);
    this.#card.replaceChildren(...this.#cardContent(this.#tokens[index], index));
    this.#card.hidden = false;
    this.#place();
  }

  /** Put the card under its token, as far as there is room beside. */
  #place() {
    const shown = this.#list.querySelector(".token.is-open");
    if (!shown) return;
    const outer = this.element.getBoundingClientRect();
    const lines = shown.getClientRects();
    const line = lines[lines.length - 1] ?? shown.getBoundingClientRect();
    const room = outer.width - this.#card.offsetWidth;
    this.#card.style.left = `${Math.max(0, Math.min(line.left - outer.left, room))}px`;
    this.#card.style.top = `${line.bottom - outer.top + 4}px`;
  }

  #cardContent(token, index) {
    const others = token.top.filter(([text]) => text !== token.text);
    const entries = [[token.text, token.logprob], ...others].sort((a, b) => b[1] - a[1]);
    const rest = 1 - entries.reduce((sum, [, logprob]) => sum + Math.exp(logprob), 0);
    return [
      element(
        "p",
        { class: "token-card-title" },
        `Token ${index + 1}`,
        element("span", {}, percent(token.logprob)),
      ),
      element(
        "ul",
        {},
        entries.map((entry) => this.#alternative(entry, entry[0] === token.text, index)),
      ),
      element(
        "p",
        { class: "token-card-rest" },
        element("span", { class: "token-card-hint" }, "Choose one to branch"),
        rest > 0.0005 ? element("span", {}, `all others ${percent(Math.log(rest))}`) : null,
      ),
    ];
  }

  #alternative([text, logprob], isTaken, index) {
    const bar = element("span", { class: "bar" });
    bar.style.setProperty("--share", Math.exp(logprob).toFixed(4));
    const row = [
      bar,
      element("span", { class: "token-text" }, spelled(text)),
      element("span", { class: "share" }, percent(logprob)),
    ];
    const begun =
      isTaken || !this.#message.finish ? null : beginningWith(this.#message, this.#tokens, index, [text, logprob]);
    if (!begun)
      return element("li", { class: isTaken ? "is-taken" : "" }, element("span", { class: "alternative" }, row));
    const label = `Answer again from here with ${spoken(text)}, ${percent(logprob)}`;
    const take = () => this.#onTake(begun.content, begun.tokens);
    return element(
      "li",
      {},
      element(
        "button",
        {
          type: "button",
          class: "alternative",
          title: "Answer again from here with this token",
          "aria-label": label,
          on: { click: take },
        },
        row,
      ),
    );
  }

  #move(event) {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    const isEntered = event.key === "Enter" || event.key === " ";
    if (!isEntered && step === undefined) return;
    event.preventDefault();
    if (isEntered) this.#card.querySelector("button")?.focus();
    const next = this.#list.children[Number(event.target.dataset.index) + step];
    if (!next) return;
    event.target.tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
  }

  /** Close the card, and go back from it to its token. */
  #escape(event) {
    if (event.key !== "Escape" || this.#card.hidden) return;
    event.stopPropagation();
    const shown = this.#list.querySelector(".token.is-open");
    if (this.#card.contains(document.activeElement)) shown?.focus();
    this.#close();
  }

  #close() {
    this.#card.hidden = true;
    const shown = this.#list.querySelector(".token.is-open");
    shown?.classList.remove("is-open");
    shown?.removeAttribute("aria-describedby");
  }
}

function summary(tokens) {
  if (!tokens.length) return [];
  const mean = tokens.reduce((sum, token) => sum + Math.exp(token.logprob), 0) / tokens.length;
  const facts = `${tokens.length} tokens, ${Math.round(mean * 100)} % likely on average, perplexity ${perplexity(tokens).toFixed(2)}`;
  const shades = Array.from({ length: NUM_SHADES }, (_, shade) => element("i", { class: `shade-${shade}` }));
  return [
    element("span", {}, facts),
    element(
      "span",
      { class: "legend" },
      "likely",
      element("span", { class: "shades", "aria-hidden": "true" }, shades),
      "unlikely",
    ),
  ];
}

/** Return how surprising a token was: 0 for one of more than 0.9, and one more for each third of that. */
function shadeOf(logprob) {
  const probability = Math.exp(logprob);
  const limits = [0.9, 0.6, 0.35, 0.15, 0.05];
  const shade = limits.findIndex((limit) => probability > limit);
  return shade < 0 ? NUM_SHADES - 1 : shade;
}

function percent(logprob) {
  const share = Math.exp(logprob) * 100;
  return share >= 99.95 ? "100 %" : share >= 0.1 ? `${share.toFixed(1)} %` : "< 0.1 %";
}

/** Return a token in the text: a line's end is seen, and ends the line. */
function visible(text) {
  return text.replaceAll("\n", "↵\n") || "∅";
}

/** Return a token by itself, with its spaces seen. */
function spelled(text) {
  return text.replaceAll(" ", "␣").replaceAll("\n", "↵").replaceAll("\t", "⇥") || "∅";
}

function spoken(text) {
  return text.trim() || { "": "nothing", " ": "space", "\n": "line end" }[text] || "blanks";
}
