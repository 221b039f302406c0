/** What might be asked, as buttons. */

import { element } from "./dom.js";

/** Put examples in the place of those that are there; `onChoose` is given the text of one. */
export function showExamples(place, texts, onChoose) {
  const buttons = texts.map((text) =>
    element("button", { type: "button", class: "example", on: { click: () => onChoose(text) } }, text),
  );
  place.replaceChildren(...buttons);
}
