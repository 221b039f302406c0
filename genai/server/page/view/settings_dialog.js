/** The sheet with a conversation's settings. */

import { NUMBERS, readNumber, readTools } from "../model/settings.js";
import { element } from "./dom.js";

export class SettingsDialog {
  #dialog;
  #form;
  #numbers;
  #system;
  #thinking;
  #tools;
  #settings = {};
  #onChange;

  /** `onChange(settings)` is called with each change that is possible. */
  constructor({ dialog, onChange }) {
    this.#dialog = dialog;
    this.#onChange = onChange;
    this.#system = element("textarea", { id: "setting-system", rows: 4, placeholder: "None" });
    this.#thinking = element(
      "select",
      { id: "setting-thinking" },
      [
        ["", "Model’s default"],
        ["true", "On"],
        ["false", "Off"],
      ].map(([value, label]) => element("option", { value }, label)),
    );
    this.#tools = element("textarea", {
      id: "setting-tools",
      rows: 4,
      class: "is-code",
      placeholder: "None",
      spellcheck: "false",
    });
    this.#numbers = NUMBERS.map((field) => ({
      field,
      input: element("input", {
        id: `setting-${field.name}`,
        inputmode: field.integer ? "numeric" : "decimal",
        autocomplete: "off",
        placeholder: "Default",
      }),
    }));
    this.#form = dialog.querySelector("#settings");
    this.#form.append(...this.#rows());
    this.#form.addEventListener("input", () => this.#read());
    this.#form.querySelector(".reset").addEventListener("click", () => this.#reset());
  }

  open(settings) {
    this.#show(settings);
    this.#dialog.showModal();
  }

  #rows() {
    return [
      row("System prompt", this.#system, "How the model should answer, before anything is asked"),
      element(
        "div",
        { class: "numbers" },
        this.#numbers.map(({ field, input }) => row(field.label, input, field.hint)),
      ),
      row("Reasoning", this.#thinking, "For models whose template can switch it"),
      row("Tools", this.#tools, "A list in JSON, as requests have it. You give the results yourself."),
      element("button", { type: "button", class: "button reset" }, "Back to the model’s defaults"),
    ];
  }

  #show(settings) {
    this.#settings = settings;
    this.#system.value = settings.system ?? "";
    this.#thinking.value = settings.thinking === undefined ? "" : String(settings.thinking);
    this.#tools.value = settings.tools?.length ? JSON.stringify(settings.tools, null, 2) : "";
    for (const { field, input } of this.#numbers) input.value = settings[field.name] ?? "";
    for (const input of this.#form.querySelectorAll("input, textarea")) say(input, null);
  }

  /** Take all that is possible; what is not says why, and what it was before stays. */
  #read() {
    const settings = {
      system: this.#system.value || undefined,
      thinking: { "": undefined, true: true, false: false }[this.#thinking.value],
    };
    const take = (name, input, { value, error }) => {
      say(input, error ?? null);
      settings[name] = error ? this.#settings[name] : value;
    };
    for (const { field, input } of this.#numbers) take(field.name, input, readNumber(field, input.value));
    take("tools", this.#tools, readTools(this.#tools.value));
    this.#settings = Object.fromEntries(Object.entries(settings).filter(([, value]) => value !== undefined));
    this.#onChange(this.#settings);
  }

  #reset() {
    this.#show({});
    this.#onChange({});
  }
}

function row(label, input, hint) {
  const hintId = `${input.id}-hint`;
  input.setAttribute("aria-describedby", hintId);
  return element(
    "div",
    { class: "row" },
    element("label", { for: input.id }, label),
    input,
    element("p", { class: "hint", id: hintId, data: { hint } }, hint),
  );
}

function say(input, error) {
  const hint = document.getElementById(`${input.id}-hint`);
  if (!hint) return;
  input.setAttribute("aria-invalid", String(error !== null));
  hint.textContent = error ?? hint.dataset.hint;
  hint.classList.toggle("is-error", error !== null);
}
