/** Code with its colours, as highlight.js finds them, and a button that copies it. */

import highlight from "../vendor/highlight.js";
import { copyButton, element } from "./dom.js";

const MAX_COLOURED = 50_000; // characters

export function codeBlock(text, info) {
  const language = info.trim().split(/[\s{,]/, 1)[0];
  const code = element("code", {}, coloured(text, language));
  return element(
    "div",
    { class: "code" },
    element(
      "div",
      { class: "code-head" },
      element("span", {}, language || "text"),
      copyButton("Copy code", () => text),
    ),
    element(
      "pre",
      { tabindex: "0", role: "region", "aria-label": language ? `Code in ${language}` : "Code" },
      code,
    ),
  );
}

function coloured(text, language) {
  if (!highlight.getLanguage(language) || text.length > MAX_COLOURED) return [text];
  // The tree that its HTML would be written from: elements are made of it here, as of everything else.
  return nodes(highlight.highlight(text, { language, ignoreIllegals: true })._emitter.rootNode.children);
}

function nodes(children) {
  return children.map((child) => {
    if (typeof child === "string") return child;
    const scope = child.scope?.startsWith("language:") ? "" : `hl-${(child.scope ?? "").split(".", 1)[0]}`;
    return element("span", { class: scope }, nodes(child.children));
  });
}
