/** Elements of the page, made without markup: text is only ever text. */

const SVG = "http://www.w3.org/2000/svg";

/**
 * Return an element. Of the properties `class`, `data`, `on` (listeners) and whatever an element has are set as such, all
 * others as attributes; `null`, `undefined` and `false` leave an attribute out.
 */
export function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) set(made, name, value);
  made.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return made;
}

function set(made, name, value) {
  if (name === "class") made.className = value;
  else if (name === "data") Object.assign(made.dataset, value);
  else if (name === "on")
    for (const [event, listener] of Object.entries(value)) made.addEventListener(event, listener);
  else if (name === "text") made.textContent = value;
  else if (value === true) made.setAttribute(name, "");
  else if (value !== null && value !== undefined && value !== false) made.setAttribute(name, value);
}

const PATHS = {
  add: "M12 5v14M5 12h14",
  alternatives: "M4 7h10M4 12h16M4 17h6",
  check: "M5 12.5l4.5 4.5L19 7.5",
  close: "M6 6l12 12M18 6L6 18",
  copy: "M9 9h10v11H9zM5 15V4h10",
  down: "M12 5v14M6 13l6 6 6-6",
  edit: "M4 20l1-4L16 5l3 3L8 19zM14 7l3 3",
  export: "M12 4v11M7 10l5 5 5-5M5 20h14",
  go: "M7 5l11 7-11 7z",
  help: "M9 9a3 3 0 1 1 4.2 2.7c-.8.4-1.2 1-1.2 2M12 17.5v.01M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18z",
  import: "M12 15V4M7 9l5-5 5 5M5 20h14",
  menu: "M4 6h16M4 12h16M4 18h16",
  next: "M9 5l7 7-7 7",
  previous: "M15 5l-7 7 7 7",
  repeat: "M19 12a7 7 0 1 1-2-5l2 2M19 4v5h-5",
  send: "M12 19V5M6 11l6-6 6 6",
  settings: "M4 7h9M17 7h3M4 17h3M11 17h9M15 9.5v-5M9 19.5v-5",
  stop: "M7 7h10v10H7z",
  theme: "M12 21a9 9 0 1 0 0-18zM12 21a9 9 0 0 1 0-18",
  trash: "M5 7h14M10 7V4h4v3M7 7l1 13h8l1-13",
};

/** Return a drawing, which means nothing to who listens. */
export function icon(name) {
  const drawing = document.createElementNS(SVG, "svg");
  for (const [attribute, value] of Object.entries({ viewBox: "0 0 24 24", class: "icon", "aria-hidden": "true" })) {
    drawing.setAttribute(attribute, value);
  }
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", PATHS[name]);
  drawing.append(path);
  return drawing;
}

/** Return a button that shows a drawing alone; its label is told and shown on hover. */
export function iconButton(name, label, onClick, properties = {}) {
  return element(
    "button",
    {
      type: "button",
      class: "icon-button",
      "aria-label": label,
      title: label,
      ...properties,
      on: { click: onClick },
    },
    icon(name),
  );
}

/** Return a button that copies a text, which is asked for when it is pressed, and says that it has. */
export function copyButton(label, textOf) {
  const button = iconButton("copy", label, async () => {
    const text = textOf();
    const isCopied = await copy(text);
    button.replaceChildren(icon(isCopied ? "check" : "close"));
    button.setAttribute("aria-label", isCopied ? "Copied" : "Could not be copied");
    setTimeout(() => {
      button.replaceChildren(icon("copy"));
      button.setAttribute("aria-label", label);
    }, 1500);
  });
  return button;
}

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return copyBySelection(text); // the clipboard is there only where the page came by TLS or from this machine
  }
}

function copyBySelection(text) {
  const place = element("textarea", { class: "off-screen", "aria-hidden": "true" });
  place.value = text;
  const focused = document.activeElement;
  document.body.append(place);
  place.select();
  const isCopied = document.execCommand("copy");
  place.remove();
  focused?.focus();
  return isCopied;
}
