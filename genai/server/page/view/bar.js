/** The bar above a conversation: its model, and whether anything is set. */

import { countSettings } from "../model/settings.js";
import { element } from "./dom.js";

/** Show the models there are, and which one the next answer is by. */
export function showModels(models, model) {
  const place = document.getElementById("model");
  place.replaceChildren(...models.map((name) => element("option", { value: name }, name)));
  place.value = model ?? "";
  place.disabled = models.length === 0;
}

/** Say on the button of the settings how many are set. */
export function showSettingsLabel(settings) {
  const count = countSettings(settings);
  const label = count ? `Settings, ${count} set` : "Settings";
  const button = document.getElementById("open-settings");
  button.setAttribute("aria-label", label);
  button.title = label;
  button.classList.toggle("is-set", count > 0);
}
