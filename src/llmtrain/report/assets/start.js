// What all scripts of the page use: the data, elements, colours that follow the theme, numbers in words.
"use strict";
const DATA = JSON.parse(document.getElementById("data").textContent);
const RUN_COLOURS = 8;

/** A colour of page.css as the canvas takes it, in the theme that is shown now. */
function colour(name) {
  const probe = colour.probe ??= document.body.appendChild(element("span", {hidden: true}));
  probe.style.color = `var(--${name})`;
  return getComputedStyle(probe).color;
}

const runColour = (run) => `run${run % RUN_COLOURS}`;
const swatch = (run) => element("i", {class: "swatch", style: `background:var(--${runColour(run)})`});

/** A number with as many digits as matter. */
function shortNumber(value) {
  if (value === null || value === undefined || !isFinite(value)) return "–";
  const size = Math.abs(value);
  if (size >= 1000) return Math.round(value).toLocaleString("en");
  if (size !== 0 && size < 0.001) return value.toExponential(1);
  return String(Number(value.toPrecision(4)));
}

// Whoever draws on a canvas is called when the theme changes.
const onThemeChange = [];
const repaint = () => onThemeChange.forEach((draw) => draw());
const dark = matchMedia("(prefers-color-scheme: dark)");
dark.addEventListener("change", repaint);

const themeButton = document.getElementById("theme");
themeButton.addEventListener("click", () => {
  const order = ["auto", "light", "dark"], now = document.documentElement.dataset.theme ?? "auto";
  setTheme(order[(order.indexOf(now) + 1) % order.length]);
});

function setTheme(theme) {
  if (theme === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  themeButton.lastElementChild.textContent = theme;
  repaint();
}

// Paper is white: charts are drawn for it and then as before.
let beforePrint = "auto";
addEventListener("beforeprint", () => { beforePrint = document.documentElement.dataset.theme ?? "auto"; setTheme("light"); });
addEventListener("afterprint", () => setTheme(beforePrint));
