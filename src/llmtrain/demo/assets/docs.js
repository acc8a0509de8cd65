// openapi.json as a page. Every text is put in as text.
"use strict";
const SHOWN = 120; // characters of an example's text

async function start() {
  const [described, served] = await Promise.all(["openapi.json", "models"].map(async (path) => (await fetch(path)).json()));
  $("about").textContent = described.info.description;
  for (const [path, methods] of Object.entries(described.paths)) {
    for (const [method, one] of Object.entries(methods)) $("paths").append(pathSection(described, path, method, one));
  }
  const body = bodyToTry(served.forms, served.forms[0]);
  $("curl").textContent = `curl ${location.origin}/predict -H 'Content-Type: application/json' \\\n  -d '${JSON.stringify(body).replaceAll("'", "'\\''")}'`;
  $("send").addEventListener("click", async () => {
    const given = await fetch("predict", {method: "POST", headers: {"Content-Type": "application/json"}, body: JSON.stringify(body)});
    $("answer").textContent = `${given.status}\n${JSON.stringify(await given.json(), null, 1)}`;
  });
  document.body.dataset.ready = "true";
}

/** A request that this server answers. */
function bodyToTry(forms, form) {
  const texts = form.fields.map((name) => {
    const text = form.examples[0]?.inputs[name] ?? "a text";
    return [name, text.length > SHOWN ? `${text.slice(0, SHOWN)} …` : text];
  });
  return {rows: [texts.length === 1 ? texts[0][1] : Object.fromEntries(texts)], ...(forms.length > 1 ? {task: form.name} : {})};
}

function pathSection(described, path, method, one) {
  const given = one.requestBody?.content["application/json"].schema, made = one.responses["200"].content?.["application/json"].schema;
  const refusals = Object.entries(one.responses).filter(([, why]) => why.content?.["application/json"].schema?.$ref?.endsWith("/Refusal"));
  return element("section", {class: "path"},
    element("h2", {}, element("code", {}, `${method.toUpperCase()} ${path}`)), element("p", {}, one.description ?? one.summary),
    given ? [element("h3", {}, "Body"), tableOf(described, given)] : null,
    made?.$ref ? [element("h3", {}, "Answer"), ...tablesOf(described, made)] : null,
    refusals.length ? [element("h3", {}, "Refusals: {\"error\": \"one line\"}"), table(["status", "where"], refusals.map(([status, why]) => [status, why.description]))] : null);
}

const nameOf = (schema) => schema.$ref?.split("/").pop();

/** A schema, and those that it is made of. */
function tablesOf(described, schema) {
  const name = nameOf(schema), inside = Object.values(described.components.schemas[name].properties).map((one) => one.items ?? one).filter(nameOf);
  return [element("p", {class: "quiet"}, name), tableOf(described, schema), ...inside.flatMap((one) => tablesOf(described, one))];
}

function tableOf(described, schema) {
  const found = described.components.schemas[nameOf(schema)];
  return table(["name", "holds", "what it is"], Object.entries(found.properties).map(([name, one]) => [
    name, kindOf(one) + (found.required?.includes(name) ? "" : ", may be left out"), one.description ?? ""]));
}

function kindOf(one) {
  if (one.anyOf) return one.anyOf.filter((kind) => kind.type !== "null").map(kindOf).join(" or ");
  if (one.type === "array") return `list of ${kindOf(one.items)}`;
  return nameOf(one) ?? one.type ?? "anything";
}

function table(head, rows) {
  const cells = (kind, texts) => texts.map((text, index) => element(index ? "td" : kind, kind === "th" ? {scope: "row"} : {}, text));
  return element("div", {class: "scroll", tabindex: 0}, element("table", {},
    element("thead", {}, element("tr", {}, ...head.map((text) => element("th", {scope: "col"}, text)))),
    element("tbody", {}, ...rows.map((row) => element("tr", {}, ...cells("th", row))))));
}

start();
