/**
 * Markdown as elements. marked reads it; what it found becomes elements here, so that no text of a model is ever markup: its
 * HTML is shown as it was written, its links lead only where people go, and its images are links.
 */

import { lexer } from "../vendor/marked.js";
import { codeBlock } from "./code.js";
import { element } from "./dom.js";

const SCHEMES = ["http:", "https:", "mailto:"];
const ALIGNMENTS = { left: "align-left", center: "align-center", right: "align-right" };
const ENTITIES = {
  amp: "&",
  lt: "<",
  gt: ">",
  quot: '"',
  apos: "'",
  nbsp: "\u00A0",
  copy: "©",
  hellip: "…",
  mdash: "—",
  ndash: "–",
};
const MAX_DEPTH = 40; // of lists in lists and quotes in quotes; below is plain text

/** Shows Markdown that grows: of its blocks only those that have changed are made again. */
export class MarkdownView {
  #blocks = [];
  #text = "";

  constructor() {
    this.element = element("div", { class: "markdown" });
  }

  show(text) {
    if (text === this.#text) return;
    this.#text = text;
    const tokens = lexer(text).filter((token) => token.type !== "space" && token.type !== "def");
    let same = 0;
    while (same < tokens.length && this.#blocks[same]?.raw === tokens[same].raw) same += 1;
    for (const { node } of this.#blocks.splice(same)) node.remove();
    for (const token of tokens.slice(same)) {
      const node = block(token, 0);
      this.#blocks.push({ raw: token.raw, node });
      this.element.append(node);
    }
  }
}

function block(token, depth) {
  if (depth > MAX_DEPTH) return element("p", {}, token.raw);
  switch (token.type) {
    case "heading":
      return element(`h${Math.min(6, token.depth + 1)}`, {}, inlines(token.tokens)); // below the page's own
    case "paragraph":
    case "text":
      return element("p", {}, token.tokens ? inlines(token.tokens) : plain(token.text));
    case "code":
      return codeBlock(token.text, token.lang ?? "");
    case "blockquote":
      return element("blockquote", {}, blocks(token.tokens, depth));
    case "list":
      return list(token, depth);
    case "table":
      return table(token);
    case "hr":
      return element("hr");
    default:
      return element("p", {}, token.raw); // HTML, and whatever a later version may find
  }
}

function blocks(tokens, depth) {
  return tokens
    .filter((token) => token.type !== "space" && token.type !== "def")
    .map((token) => block(token, depth + 1));
}

function list(token, depth) {
  const start = token.ordered && token.start !== 1 ? token.start : null;
  return element(
    token.ordered ? "ol" : "ul",
    { start },
    token.items.map((item) => listItem(item, depth)),
  );
}

function listItem(item, depth) {
  const content = item.tokens.flatMap((token) => {
    if (token.type === "space" || token.type === "def") return [];
    if (token.type === "checkbox") return [checkbox(token.checked)];
    return token.type === "text" && !item.loose ? inlines(token.tokens ?? [token]) : [block(token, depth + 1)];
  });
  return element("li", { class: item.task ? "task" : "" }, content);
}

function checkbox(isChecked) {
  return element("input", {
    type: "checkbox",
    disabled: true,
    checked: isChecked,
    "aria-label": isChecked ? "Done" : "To do",
  });
}

function table(token) {
  const cell = (tag) => (each) =>
    element(
      tag,
      { class: ALIGNMENTS[each.align] ?? "", ...(tag === "th" ? { scope: "col" } : {}) },
      inlines(each.tokens),
    );
  const rows = token.rows.map((row) => element("tr", {}, row.map(cell("td"))));
  const whole = element(
    "table",
    {},
    element("thead", {}, element("tr", {}, token.header.map(cell("th")))),
    element("tbody", {}, rows),
  );
  return element("div", { class: "table", tabindex: "0", role: "region", "aria-label": "Table" }, whole);
}

function inlines(tokens) {
  return tokens.map(inline);
}

function inline(token) {
  switch (token.type) {
    case "strong":
      return element("strong", {}, inlines(token.tokens));
    case "em":
      return element("em", {}, inlines(token.tokens));
    case "del":
      return element("del", {}, inlines(token.tokens));
    case "codespan":
      return element("code", {}, token.text);
    case "br":
      return element("br");
    case "link":
      return link(token.href, token.tokens ? inlines(token.tokens) : [token.text]);
    case "image":
      return link(token.href, [`[image: ${token.text || token.href}]`]);
    case "text":
      return token.tokens ? element("span", {}, inlines(token.tokens)) : plain(token.text);
    case "escape":
      return token.text;
    default:
      return token.raw;
  }
}

function link(href, content) {
  const isSafe = URL.canParse(href) && SCHEMES.includes(new URL(href).protocol);
  if (!isSafe) return element("span", {}, content);
  return element("a", { href, target: "_blank", rel: "noopener noreferrer", title: href }, content);
}

/** Return a text with its character references read, as Markdown has them. */
function plain(text) {
  return text.replace(/&(?:#(\d{1,7})|#x([\da-f]{1,6})|(\w+));/gi, (whole, decimal, hexadecimal, name) => {
    if (name) return Object.hasOwn(ENTITIES, name) ? ENTITIES[name] : whole;
    const code = decimal ? Number(decimal) : parseInt(hexadecimal, 16);
    return code > 0 && code <= 0x10ffff ? String.fromCodePoint(code) : "\uFFFD";
  });
}
