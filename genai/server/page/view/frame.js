/** What is around a conversation: the drawer of a narrow window, menus, the scheme of colours, and keys. */

import { preferences } from "../preferences.js";

const THEMES = { "": "Colours: as the machine’s", light: "Colours: light", dark: "Colours: dark" };
const NARROW = "(max-width: 52rem)";

/** Let buttons open and close the list of conversations where there is no room beside; return {open(focus), close()}. */
export function setUpDrawer() {
  const drawer = document.getElementById("sidebar");
  const button = document.getElementById("open-drawer");
  const set = (isOpen) => {
    document.body.classList.toggle("has-drawer", isOpen);
    button.setAttribute("aria-expanded", String(isOpen));
    document.getElementById("main").inert = isOpen && matchMedia(NARROW).matches;
  };
  const close = () => {
    const hadFocus = drawer.contains(document.activeElement);
    const wasOpen = document.body.classList.contains("has-drawer");
    set(false);
    if (wasOpen && hadFocus) button.focus();
  };
  const open = (focus) => {
    set(matchMedia(NARROW).matches);
    focus.focus();
  };
  button.addEventListener("click", () => open(document.getElementById("close-drawer")));
  document.getElementById("close-drawer").addEventListener("click", close);
  document.getElementById("drawer-back").addEventListener("click", close);
  drawer.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !document.body.classList.contains("has-drawer")) return;
    event.stopPropagation();
    close();
  });
  matchMedia(NARROW).addEventListener("change", () => set(false));
  return { open, close };
}

/** Let menus (`details.menu`) close when something in them is done, or elsewhere, or by Escape. */
export function setUpMenus() {
  for (const menu of document.querySelectorAll("details.menu")) {
    const close = () => menu.removeAttribute("open");
    menu.addEventListener("click", (event) => event.target.closest(".menu-items button") && close());
    menu.addEventListener("keydown", (event) => {
      if (event.key !== "Escape" || !menu.open) return;
      event.stopPropagation();
      close();
      menu.querySelector("summary").focus();
    });
    document.addEventListener("pointerdown", (event) => !menu.contains(event.target) && close());
  }
  for (const dialog of document.querySelectorAll("dialog")) {
    dialog.addEventListener(
      "click",
      (event) => (event.target === dialog || event.target.closest(".close")) && dialog.close(),
    );
  }
}

export function setUpTheme() {
  const button = document.getElementById("theme");
  const show = () => {
    document.documentElement.dataset.theme = preferences.theme;
    button.setAttribute("aria-label", THEMES[preferences.theme]);
    button.title = THEMES[preferences.theme];
  };
  button.addEventListener("click", () => {
    const names = Object.keys(THEMES);
    preferences.theme = names[(names.indexOf(preferences.theme) + 1) % names.length];
    show();
  });
  show();
}

/** Bind keys that work everywhere: `actions` is {search, newConversation, help, stop}. */
export function setUpShortcuts(actions) {
  document.addEventListener("keydown", (event) => {
    if (document.querySelector("dialog[open]")) return;
    const isCommand = (event.ctrlKey || event.metaKey) && !event.altKey;
    const isTyping = event.target.closest("input, textarea, select");
    const action = shortcut(event, isCommand, Boolean(isTyping));
    if (!action) return;
    event.preventDefault();
    actions[action]();
  });
}

function shortcut(event, isCommand, isTyping) {
  const key = event.key.toLowerCase();
  if (isCommand && key === "k") return "search";
  if (isCommand && event.shiftKey && key === "o") return "newConversation";
  if (key === "escape") return "stop";
  return key === "?" && !isTyping ? "help" : null;
}
