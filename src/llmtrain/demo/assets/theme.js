// What the scripts of these pages share beside elements: the theme.
"use strict";
const $ = (id) => document.getElementById(id);

/** What the browser keeps of this page; nothing where its storage is off. */
function kept(name, value) {
  try {
    if (value !== undefined) localStorage.setItem(name, value);
    return localStorage.getItem(name);
  } catch (error) { return null; }
}

const THEMES = ["auto", "light", "dark"];

function setTheme(theme) {
  if (theme === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  $("theme").lastElementChild.textContent = theme;
  kept("theme", theme);
}

$("theme").addEventListener("click", () => {
  setTheme(THEMES[(THEMES.indexOf(document.documentElement.dataset.theme ?? "auto") + 1) % THEMES.length]);
});
setTheme(THEMES.includes(kept("theme")) ? kept("theme") : "auto");
