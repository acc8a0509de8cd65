// The page: a form for each task, and an answer of each model. Every text is put in as text.
"use strict";
const SETTINGS = [
  {name: "num_beams", label: "beams", about: "1 is greedy; more search further", step: 1, min: 1, most: "max_beams"},
  {name: "max_new_tokens", label: "longest output", about: "tokens", step: 1, min: 1, most: "max_new_tokens"},
  {name: "min_new_tokens", label: "shortest output", about: "tokens", step: 1, min: 0, most: "max_new_tokens"},
  {name: "length_penalty", label: "length penalty", about: "of beams: the more, the longer", step: "any", min: -100, max: 100, beams: true},
  {name: "no_repeat_ngram_size", label: "no repeated n-gram", about: "no run of so many tokens twice (0: off)", step: 1, min: 0},
  {name: "num_return_sequences", label: "outputs", about: "at most as many as beams", step: 1, min: 1, most: "max_beams", beams: true},
];
const SLOW = 300; // milliseconds after which it is told that models work
const inWords = (name) => name.replaceAll("_", " ");
let served, form, running = [], example = null; // example: the number of the test row that the fields hold

async function start() {
  try {
    served = await (await fetch("models")).json();
  } catch (error) {
    $("title").textContent = "The server does not answer";
    return;
  }
  $("tasks").append(...served.forms.map((one) => element("button", {type: "button", "data-task": one.name, onclick: () => choose(one)}, inWords(one.name))));
  $("tasks").hidden = served.forms.length < 2;
  $("settings").append(...SETTINGS.map(settingField));
  $("previous").addEventListener("click", () => fill(example === null ? -1 : example - 1));
  $("next").addEventListener("click", () => fill(example === null ? 0 : example + 1));
  $("number").addEventListener("change", () => fill(Number($("number").value) - 1));
  $("reset").addEventListener("click", () => { SETTINGS.forEach((one) => { $(one.name).value = ""; }); decodingChanged(); });
  $("ask").addEventListener("submit", (event) => { event.preventDefault(); run(); });
  for (const view of ["outputs", "differences"]) $(view).addEventListener("click", () => show(view));
  document.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); $("ask").requestSubmit(); }
  });
  choose(served.forms[0]);
  document.body.dataset.ready = "true";
}

// ---- the form of a task

function choose(one) {
  form = one;
  example = null;
  clear();
  for (const button of $("tasks").children) button.setAttribute("aria-pressed", String(button.dataset.task === one.name));
  $("title").textContent = one.models.map((model) => model.name).join(" · ");
  document.title = `${one.models.map((model) => model.name).join(", ")} – llmtrain demo`;
  $("about").textContent = `${inWords(one.name)}, ${one.models.length === 1 ? "one model" : `${one.models.length} models side by side`}`;
  $("fields").replaceChildren(...one.fields.map(textField));
  $("examples").hidden = !one.examples.length;
  $("count").textContent = one.examples.length;
  $("number").max = one.examples.length;
  const writing = one.models.filter((model) => model.writes);
  $("decoding").hidden = !writing.length;
  for (const setting of SETTINGS) {
    $(setting.name).placeholder = [...new Set(writing.map((model) => model.generation[setting.name]))].join(" / ");
    $(setting.name).value = "";
  }
  decodingChanged();
  if (one.examples.length) fill(0);
}

function textField(name, index) {
  const text = element("textarea", {id: `field-${name}`, name, spellcheck: "false", class: index ? "short" : "long", rows: index ? 1 : 7,
    placeholder: index ? null : "Paste a text, or drop a text file"});
  const count = element("span", {class: "quiet"});
  const most = served.limits.max_characters;
  text.addEventListener("input", () => {
    const length = [...text.value].length, over = length > most;
    count.textContent = length ? `${length.toLocaleString("en")} characters${over ? `, more than ${most.toLocaleString("en")}` : ""}` : "";
    count.className = over ? "error" : "quiet";
    stale();
  });
  text.addEventListener("dragover", (event) => { event.preventDefault(); text.classList.add("over"); });
  text.addEventListener("dragleave", () => text.classList.remove("over"));
  text.addEventListener("drop", async (event) => {
    text.classList.remove("over");
    const [file] = event.dataTransfer.files;
    if (!file) return; // a text: the browser puts it in
    event.preventDefault();
    if (file.size > 4 * most) return tell(`${file.name} is longer than ${most.toLocaleString("en")} characters`, true);
    setText(text, await file.text());
  });
  return element("div", {class: "field"}, element("div", {class: "head"}, element("label", {for: text.id}, name), count), text);
}

function setText(field, text) {
  field.value = text;
  field.dispatchEvent(new Event("input"));
}

function texts() {
  return Object.fromEntries(form.fields.map((name) => [name, $(`field-${name}`).value]));
}

/** Put a test row into the fields, the last one before the first. */
function fill(number) {
  const rows = form.examples.length;
  example = ((Math.trunc(number) || 0) % rows + rows) % rows;
  $("number").value = example + 1;
  for (const [name, text] of Object.entries(form.examples[example].inputs)) setText($(`field-${name}`), text);
  clear();
}

/** What the test row in the fields should give; nothing once its text was changed. */
function reference() {
  const now = texts();
  if (example === null || Object.entries(form.examples[example].inputs).some(([name, text]) => now[name] !== text.replaceAll("\r\n", "\n"))) return "";
  return form.examples[example].reference;
}

// ---- decoding

function settingField(setting) {
  return element("label", {}, element("span", {}, setting.label),
    element("input", {type: "number", id: setting.name, step: setting.step, min: setting.min, max: setting.most ? served.limits[setting.most] : setting.max, oninput: decodingChanged}),
    element("small", {}, setting.about));
}

const beamsOf = (model) => $("num_beams").value === "" ? model.generation.num_beams : Number($("num_beams").value);

/** The settings that were given and that do something for a model. */
function generationOf(model) {
  if (!model.writes) return {};
  const acting = SETTINGS.filter((setting) => $(setting.name).value !== "" && !(setting.beams && beamsOf(model) === 1 && !model.generation.do_sample));
  return Object.fromEntries(acting.map((setting) => [setting.name, Number($(setting.name).value)]));
}

function decodingChanged() {
  $("changed").textContent = SETTINGS.filter((setting) => $(setting.name).value !== "").map((setting) => `${setting.label} ${$(setting.name).value}`).join(", ");
  const beams = form.models.some((model) => model.writes && (beamsOf(model) > 1 || model.generation.do_sample));
  for (const setting of SETTINGS) if (setting.beams) $(setting.name).disabled = !beams;
  stale();
}

// ---- answers

function tell(line, bad = false) {
  $("status").textContent = line;
  $("status").className = bad ? "error" : "quiet";
}

function stop() {
  running.forEach((one) => one.control.abort());
  running = [];
}

function clear() {
  stop();
  $("answers").replaceChildren();
  $("views").hidden = $("reference").hidden = true;
  tell("");
}

/** What stands below is the answer to something else. */
function stale() {
  for (const card of document.querySelectorAll(".answer")) card.classList.add("stale");
}

async function run() {
  const asked = texts();
  if (!Object.values(asked).some((text) => text.trim())) return tell("there is no text yet", true);
  clear();
  const wanted = reference();
  const mine = running = form.models.map((model, index) => cardOf(model, index));
  $("reference").hidden = !wanted;
  $("reference").lastElementChild.textContent = wanted;
  $("answers").replaceChildren(...mine.map((one) => one.card));
  const slow = setTimeout(() => tell("working …"), SLOW);
  await Promise.all(mine.map((one) => answer(one, asked)));
  clearTimeout(slow);
  if (running !== mine) return; // asked again meanwhile
  const missing = mine.filter((one) => !one.told).length;
  tell(missing ? `${missing} of ${mine.length} models did not answer` : "", missing > 0);
  $("views").hidden = new Set(mine.filter((one) => one.told).map((one) => one.made[0])).size < 2; // nothing differs
  show("outputs");
}

function cardOf(model, index) {
  const step = model.name.endsWith(` step ${model.step}`) ? "" : `step ${model.step.toLocaleString("en")} · `;
  const meta = element("p", {class: "quiet meta"}, step + model.precision), head = element("header", {}, element("h2", {dir: "auto"}, model.name));
  const outputs = element("div", {class: "outputs"}, element("p", {class: "text made"}, "…")), parts = element("div", {class: "parts"});
  const card = element("article", {class: "answer running", style: `--of-model:var(--run${index % 8})`, "data-model": model.name},
    head, meta, outputs, parts);
  return {model, card, head, meta, outputs, parts, control: new AbortController(), told: null};
}

async function answer(place, asked) {
  const {model, control} = place;
  try {
    const given = await fetch("predict", {method: "POST", headers: {"Content-Type": "application/json"}, signal: control.signal,
      body: JSON.stringify({rows: [asked], model: model.name, generation: generationOf(model), evidence: true})});
    const found = await given.json();
    if (!given.ok) throw new Error(found.error);
    place.told = found.models[0];
    place.card.classList.remove("running");
    fillCard(place);
  } catch (error) {
    if (control.signal.aborted) return;
    place.card.classList.remove("running");
    place.outputs.replaceChildren(element("p", {class: "error"}, error instanceof TypeError ? "the server does not answer" : error.message));
  }
}

function fillCard(place) {
  const {model, told, meta, parts} = place, [answered] = told.answers, evidence = told.evidence[0];
  const {seconds} = told;
  meta.append(` · ${seconds < 10 ? seconds.toFixed(2) : Math.round(seconds)} s`);
  place.made = several(answered) ?? [evidence?.prediction ?? answered.prediction];
  showOutputs(place, (text, index) => !index && evidence ? piecesOf(evidence, "prediction", text) : [text]);
  const copy = element("button", {type: "button", onclick: async () => {
    await navigator.clipboard.writeText(place.made.join("\n"));
    copy.textContent = "Copied";
  }}, "Copy");
  place.head.append(copy);
  parts.replaceChildren(...[
    evidence && chancesOf({c: ofChances(evidence.chances)}, evidence.prediction),
    told.cut.length ? element("p", {class: "note"}, cutNote(model)) : null,
    evidence && originOf(evidence),
    element("details", {}, element("summary", {}, "JSON"), element("pre", {tabindex: 0}, JSON.stringify(answered, null, 1))),
  ].filter(Boolean));
}

function showOutputs(place, pieces) {
  place.outputs.replaceChildren(...place.made.map((text, index) => element("p", {class: "text made", dir: "auto"}, ...(text ? pieces(text, index) : ["(nothing)"]))));
}

/** The outputs as they are, or as they differ from the first model's. */
function show(view) {
  for (const one of ["outputs", "differences"]) $(one).setAttribute("aria-pressed", String(one === view));
  const [first, ...others] = running.filter((place) => place.told);
  for (const place of others) {
    const evidence = place.told.evidence[0];
    showOutputs(place, (text, index) => {
      if (view === "differences" && !index) return differenceShown(first.made[0], text);
      return !index && evidence ? piecesOf(evidence, "prediction", text) : [text];
    });
  }
}

/** Every output, where several were asked for: a list of texts that begins with the prediction. */
function several(answered) {
  return Object.values(answered).find((value) => Array.isArray(value) && value.length > 1 && value[0] === answered.prediction && value.every((one) => typeof one === "string"));
}

/** The pieces of a text, with what evidence marks in it. */
function piecesOf(evidence, where, text) {
  return marked(text, evidence.marks.filter((mark) => mark.where === where).map((mark) => asMark(text, mark)));
}

function ofChances(chances) {
  const found = Object.entries(chances).sort((a, b) => b[1] - a[1]);
  return found.length ? found.slice(0, 12) : null;
}

function cutNote(model) {
  return model.reads ? `This model reads ${model.reads.toLocaleString("en")} tokens; the rest of the text was left out.` : "This model did not read all of the text.";
}

function originOf(evidence) {
  const marks = evidence.marks.filter((mark) => mark.where !== "prediction");
  if (!marks.length) return null;
  const inputs = Object.entries(evidence.inputs).filter(([name]) => marks.some((mark) => mark.where === name));
  return element("details", {open: true}, element("summary", {}, "Where it comes from"), legend(new Set(evidence.marks.map((mark) => mark.kind))),
    ...inputs.flatMap(([name, text]) => [inputs.length > 1 ? element("h3", {}, name) : null,
      element("div", {class: "text", dir: "auto", tabindex: 0, role: "region", "aria-label": name}, ...piecesOf(evidence, name, text))]));
}

start();
