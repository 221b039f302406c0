/* Sets the scheme of colours before anything is drawn; so this alone is no module, which would run later. */
try {
  document.documentElement.dataset.theme = localStorage.getItem("genai.theme") ?? "";
} catch {
  document.documentElement.dataset.theme = "";
}
