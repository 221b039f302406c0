/** What might be asked, for who has not yet. */

import { element } from "./dom.js";

const EXAMPLES = [
  "Explain how a key-value cache makes decoding faster",
  "Write a Python function that merges two sorted lists, with a test",
  "Compare three ways to sort a list in a table",
  "Tell a story of five sentences about a lighthouse",
];

/** Put examples into a place; `onChoose` is given the text of one. */
export function showExamples(place, onChoose) {
  for (const text of EXAMPLES) {
    place.append(
      element("button", { type: "button", class: "example", on: { click: () => onChoose(text) } }, text),
    );
  }
}
