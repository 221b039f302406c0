/** Files that people keep. */

import { element } from "./dom.js";

/** Let the browser save a text under a name. */
export function saveFile(name, type, text) {
  const address = URL.createObjectURL(new Blob([text], { type }));
  element("a", { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 10_000); // it may take a while to begin
}

/** Return the text of a file that is chosen; without one it never ends. */
export function chooseFile(types) {
  const field = element("input", { type: "file", accept: types });
  return new Promise((resolve, reject) => {
    field.addEventListener("change", () => field.files[0]?.text().then(resolve, reject));
    field.click();
  });
}
