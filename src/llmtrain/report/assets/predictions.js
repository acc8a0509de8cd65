// The table of predictions: searched, filtered, sorted, a page at a time, and a row opened to read it.
"use strict";
const PAGE = 25, TOP = 50, MOST_COLUMNS = 4;

class Predictions {
  constructor(home, part) {
    Object.assign(this, {home, part, run: Math.max(0, part.runs.indexOf(part.best)), metric: 0, filter: "all", search: "", page: 0, view: "evidence",
      sort: {key: "file", down: false}, open: new Set()});
    this.several = part.runs.length > 1;
    this.copies = part.rows.some((row) => row.o.some((output) => output?.h));
    this.columns = [...part.runs.keys()].slice(0, MOST_COLUMNS);
    this.place();
    this.show();
  }

  /** A run's score of a row by the chosen metric; null where it has none. */
  score(row, run = this.run) { return row.o[run]?.s[this.metric] ?? null; }

  change(row) {
    const values = row.o.map((output) => output?.s[this.metric]).filter((value) => value != null);
    return values.length > 1 ? Math.max(...values) - Math.min(...values) : null;
  }

  /** What a column or a filter orders by. */
  value(row, key) {
    const output = row.o[this.run];
    if (key === "file") return row.n;
    if (key === "change") return this.change(row);
    if (key === "wrong") return output?.h ? output.h[1] : null;
    if (key === "length") return output ? wordsOf(output) : null;
    if (key === "source") return row.x[0]?.[1].length ?? 0;
    return this.score(row, Number(key.slice(3)));
  }

  get more() { return this.part.metrics[this.metric]?.more ?? true; }

  filters() {
    const scored = this.part.metrics.length > 0, own = `run${this.run}`;
    return [["all", "All"], ...(scored ? [["worst", "Worst", own, !this.more], ["best", "Best", own, this.more]] : []),
      ...(this.several ? [["change", "Most changed", "change", true]] : []),
      ["length", "Longest outputs", "length", true], ["source", "Longest sources", "source", true],
      ...(this.copies ? [["wrong", "Copied wrongly", "wrong", true]] : [])];
  }

  choose(name) {
    const [, , key, down] = this.filters().find((one) => one[0] === name) ?? ["all"];
    this.filter = name;
    this.sort = key ? {key, down} : {key: "file", down: false};
    this.page = 0;
    this.show();
  }

  /** The rows that are wanted, in order. */
  wanted() {
    const asked = this.search.toLowerCase();
    let rows = this.part.rows.filter((row) => !asked || haystack(row).includes(asked));
    const [, , key, down] = this.filters().find((one) => one[0] === this.filter) ?? [];
    if (key) rows = this.sorted(rows.filter((row) => this.value(row, key) !== null), key, down).slice(0, TOP);
    return this.sorted(rows, this.sort.key, this.sort.down);
  }

  /** Rows without a value come last, whichever way. */
  sorted(rows, key, down) {
    const keyed = rows.map((row) => [this.value(row, key), row]);
    keyed.sort(([a, one], [b, two]) => a === null || b === null ? (a === null) - (b === null)
      : (down ? b - a : a - b) || one.n - two.n);
    return keyed.map(([, row]) => row);
  }

  place() {
    const {part} = this, select = (label, options, chosen, set) => options.length < 2 ? null : element("label", {}, label,
      element("select", {onchange: (event) => { set(event.target.value); this.page = 0; this.refilter(); }},
        ...options.map(([value, words]) => element("option", {value, selected: value === chosen}, words))));
    this.chips = element("div", {class: "filters", role: "group", "aria-label": "Which rows"});
    this.table = element("div", {});
    this.pager = element("div", {class: "pager"});
    this.home.append(this.chips, element("div", {class: "controls"},
      element("label", {}, "Search ", element("input", {type: "search", placeholder: "in all texts and ids", oninput: (event) => {
        this.search = event.target.value.trim();
        this.page = 0;
        this.show();
      }})),
      select("Run", part.runs.map((run, place) => [place, DATA.runs[run]]), this.run, (value) => { this.run = Number(value); }),
      select("By", part.metrics.map((metric, place) => [place, metric.heading]), 0, (value) => { this.metric = Number(value); })),
    this.table, this.pager);
  }

  /** After another run or metric: the filter stays, by the new one. */
  refilter() {
    if (this.filter === "all") this.show();
    else this.choose(this.filter);
  }

  show() {
    this.chips.replaceChildren(...this.filters().map(([name, words]) => element("button", {type: "button",
      "aria-pressed": String(name === this.filter), onclick: () => { this.choose(name); this.focusChip(name); },
      "data-filter": name}, name === "all" ? `${words} ${this.part.rows.length.toLocaleString("en")}` : words)));
    const rows = this.wanted(), pages = Math.max(1, Math.ceil(rows.length / PAGE));
    this.page = Math.min(this.page, pages - 1);
    const shown = rows.slice(this.page * PAGE, (this.page + 1) * PAGE);
    this.table.replaceChildren(rows.length ? element("table", {class: "rows"}, this.head(),
      element("tbody", {}, ...shown.flatMap((row) => this.line(row))))
      : element("p", {class: "box"}, `No row holds “${this.search}”.`));
    const turn = (words, step, off) => element("button", {type: "button", disabled: off, onclick: () => {
      this.page += step;
      this.show();
      this.home.scrollIntoView({block: "start"});
    }}, words);
    this.pager.replaceChildren(turn("Previous", -1, this.page === 0), turn("Next", 1, this.page >= pages - 1),
      element("span", {role: "status"}, rows.length ? `rows ${this.page * PAGE + 1} to ${this.page * PAGE + shown.length} of ${rows.length.toLocaleString("en")}`
        : "no rows"));
  }

  focusChip(name) { this.chips.querySelector(`[data-filter="${name}"]`)?.focus(); }

  /** Score columns: each run's, how far they lie apart, words copied wrongly. */
  extra() {
    const {part} = this, metric = part.metrics[this.metric];
    const runs = metric ? this.columns.map((run) => [`run${run}`, this.several ? DATA.runs[part.runs[run]] : metric.heading,
      (row) => this.score(row, run)?.toFixed(metric.digits)]) : [];
    const change = this.several && metric ? [["change", "change", (row) => this.change(row)?.toFixed(metric.digits)]] : [];
    const wrong = this.copies ? [["wrong", "copied wrongly", (row) => row.o[this.run]?.h && `${row.o[this.run].h[1]} %`]] : [];
    return [...runs, ...change, ...wrong];
  }

  head() {
    const cell = (key, words, kind = "") => element("th", {scope: "col", class: kind, "aria-sort": this.sort.key === key
      ? this.sort.down ? "descending" : "ascending" : null}, element("button", {type: "button", "data-sort": key, onclick: () => {
      this.sort = {key, down: this.sort.key === key ? !this.sort.down : key !== "file"};
      this.show();
      this.table.querySelector(`[data-sort="${key}"]`)?.focus();
    }}, element("bdi", {}, words), this.sort.key === key ? this.sort.down ? " ↓" : " ↑" : ""));
    const first = this.part.rows[0];
    return element("thead", {}, element("tr", {}, cell("file", "row"), element("th", {scope: "col"}, first.x[0]?.[0] ?? "source"),
      element("th", {scope: "col"}, "output"), ...this.extra().map(([key, words]) => cell(key, words, "number score"))));
  }

  line(row) {
    const isOpen = this.open.has(row), output = row.o[this.run];
    const made = element("tr", {class: isOpen ? "open" : null}, element("th", {scope: "row"},
      element("button", {type: "button", "aria-expanded": String(isOpen), onclick: (event) => this.toggle(row, event.currentTarget.closest("tr"))},
        element("bdi", {}, `${isOpen ? "▾" : "▸"} ${row.i}`))),
    element("td", {class: "preview source", dir: "auto"}, (row.x[0]?.[1] ?? "").slice(0, 160)),
    element("td", {class: "preview", dir: "auto"}, output ? output.t.slice(0, 160) || "(nothing)" : "(not scored)"),
    ...this.extra().map(([, words, value]) => element("td", {class: "number score", "data-label": words}, value(row) || "–")));
    return isOpen ? [made, this.opened(row)] : [made];
  }

  opened(row) {
    return element("tr", {}, element("td", {class: "detail", colspan: 3 + this.extra().length}, this.detail(row)));
  }

  /** Open or close a row in its place. */
  toggle(row, place) {
    if (this.open.delete(row)) place.nextElementSibling.remove();
    else this.open.add(row);
    const made = this.line(row);
    place.replaceWith(...made);
    made[0].querySelector("button").focus();
  }

  detail(row) {
    const {part} = this, output = row.o[this.run] ?? row.o.find((one) => one), kinds = new Set();
    const noted = (marks) => { marks.forEach((mark) => kinds.add(mark[2])); return marks; };
    const inputs = row.x.flatMap(([name, text], place) => [element("h5", {}, name),
      element("p", {class: "text", dir: "auto", tabindex: text.length > 1500 ? 0 : null},
        ...marked(text, noted(marksOfInput(row, place, output)), this.search))]);
    const references = row.r.map((text, place) => element("div", {}, element("h5", {}, row.r.length > 1 ? `reference ${place + 1}` : "reference"),
      element("p", {class: "text", dir: "auto"}, ...marked(text, [], this.search))));
    const outputs = row.o.map((one, place) => one && element("div", {class: "output", style: this.several ? `border-color:var(--${runColour(part.runs[place])})` : null},
      element("h5", {}, element("bdi", {}, this.several ? DATA.runs[part.runs[place]] : "output")),
      element("p", {class: "text", dir: "auto"}, ...this.shownOutput(row, one, place, noted)),
      chancesOf(one, one.t), element("p", {class: "values"}, ...this.values(one))));
    const views = [["evidence", this.copies ? "where its words come from" : "the output alone"], ...(row.r.length ? [["reference", "how it differs from the reference"]] : []),
      ...(this.several ? part.runs.map((run, place) => [`run${place}`, `how it differs from ${DATA.runs[run]}`]) : [])];
    const view = views.length > 1 ? element("label", {class: "quiet view"}, "Outputs show ", element("select", {"data-view": true, onchange: (event) => {
      this.view = event.target.value;
      const place = event.target.closest("tr"), made = this.opened(row);
      place.replaceWith(made);
      made.querySelector("[data-view]").focus();
    }}, ...views.map(([value, words]) => element("option", {value, selected: value === this.view}, words)))) : null;
    const id = row.i.length > 12 ? element("p", {class: "quiet"}, "row ", element("bdi", {}, row.i)) : null;
    return element("div", {}, id, legend(kinds), element("div", {class: "reading"}, element("div", {class: "source"}, ...inputs),
      element("div", {class: "outputs"}, ...references, view, ...outputs)));
  }

  shownOutput(row, output, place, noted) {
    if (!output.t) return [element("i", {}, "(nothing)")];
    const other = this.view === "reference" ? row.r[0] : this.view.startsWith("run") ? row.o[Number(this.view.slice(3))]?.t : null;
    if (other == null || (this.view === `run${place}`)) return marked(output.t, noted(marksOfOutput(output)), this.search);
    return differenceShown(other, output.t);
  }

  values(output) {
    const scores = this.part.metrics.map((metric, place) => output.s[place] == null ? null : `${metric.heading} ${output.s[place].toFixed(metric.digits)}`);
    const shares = output.h ? [`copied ${output.h[0]} %`, `copied wrongly ${output.h[1]} %`, `new ${output.h[2]} %`] : [];
    return [...scores, ...shares].filter(Boolean).map((one) => element("span", {}, one));
  }
}

const wordsOf = (output) => output.length ??= (output.t.match(PIECES) ?? []).filter((piece) => piece.trim()).length;
const haystack = (row) => row.text ??= [row.i, ...row.x.map((one) => one[1]), ...row.r, ...row.o.map((one) => one?.t ?? "")].join("\n").toLowerCase();

const tables = {};
for (const home of document.querySelectorAll(".predictions")) {
  const part = DATA.parts.find((one) => one.id === home.dataset.part);
  part.rows.forEach((row, number) => { row.n = number; });
  tables[part.id] = new Predictions(home, part);
}
for (const button of document.querySelectorAll("button[data-show]")) {
  button.addEventListener("click", () => {
    tables[button.dataset.part].choose(button.dataset.show);
    document.getElementById(`predictions-${button.dataset.part}`).scrollIntoView();
  });
}
