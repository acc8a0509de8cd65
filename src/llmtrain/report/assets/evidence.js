// Texts with what is highlighted in them. Every text is put in as text.
"use strict";
const KINDS = {
  copied: "copied from the source", wrong: "copied, a stretch of which most stands in no reference",
  new: "neither in the source nor in a reference",
  answer: "the answer that was given", expected: "the answer that was wanted", cited: "cited", chosen: "chosen",
};

/** Elements for a text with marks [start, end, kind, number, weight]; marks may lie over one another. */
function marked(text, marks, found = "") {
  const all = [...marks, ...occurrences(text, found).map(([start, end]) => [start, end, "found"])]
    .filter((mark) => mark[0] < mark[1]);
  const ends = [...new Set([0, text.length, ...all.flatMap((mark) => [mark[0], mark[1]])])].sort((a, b) => a - b);
  const made = [];
  for (let place = 0; place + 1 < ends.length; place++) {
    const [start, end] = [ends[place], ends[place + 1]], over = all.filter((mark) => mark[0] <= start && end <= mark[1]);
    const piece = text.slice(start, end);
    if (!over.length) { made.push(piece); continue; }
    const kinds = [...new Set(over.map((mark) => mark[2] in KINDS || ["found", "note"].includes(mark[2]) ? mark[2] : "other"))];
    const weights = over.filter((mark) => mark[4] != null).map((mark) => `${mark[2]} ${mark[4]}`);
    const numbers = [...new Set(over.filter((mark) => mark[3] != null && mark[1] === end).map((mark) => mark[3]))];
    made.push(element("mark", {class: kinds.join(" "), title: weights.join(", ") || null}, piece,
      numbers.length ? element("sup", {}, numbers.join(",")) : null));
  }
  return made;
}

/** Places of what was searched for. */
function occurrences(text, wanted) {
  if (!wanted) return [];
  const found = [], where = text.toLowerCase(), what = wanted.toLowerCase();
  if (where.length !== text.length) return [];
  for (let at = where.indexOf(what); at >= 0 && found.length < 50; at = where.indexOf(what, at + what.length)) found.push([at, at + what.length]);
  return found;
}

/** Pairs of a flat list of places as marks of a kind. */
function places(flat, kind) {
  const made = [];
  for (let index = 0; index < (flat ?? []).length; index += 2) made.push([flat[index], flat[index + 1], kind]);
  return made;
}

const WORDS = /[\p{L}\p{M}\p{N}]+/gu;
const NO_SPACES = /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Thai}]/u;

/** Where a stretch of an output stands in a source: the same words, whatever stands between them. */
function stretchesIn(source, stretch) {
  const words = stretch.match(WORDS) ?? [];
  if (!words.length || words.length > 400) return [];
  const alone = NO_SPACES.test(stretch);
  const [before, after] = alone ? ["", ""] : ["(?<![\\p{L}\\p{M}\\p{N}])", "(?![\\p{L}\\p{M}\\p{N}])"];
  const pattern = new RegExp(before + words.join(alone ? "[^\\p{L}\\p{N}]*" : "[^\\p{L}\\p{M}\\p{N}]+") + after, "giu");
  const found = [];
  for (const match of source.matchAll(pattern)) {
    found.push([match.index, match.index + match[0].length]);
    if (found.length === 3) break;
  }
  return found;
}

/** Marks of an output's own text. */
function marksOfOutput(output) {
  const told = (output.m ?? []).filter((mark) => mark[0] === -1).map((mark) => mark.slice(1));
  return [...told, ...places(output.k, "copied"), ...places(output.w, "wrong"), ...places(output.n, "new")];
}

/** Marks of an input for what one run made of it. */
function marksOfInput(row, place, output) {
  const [, text, notes] = row.x[place];
  const made = places(notes, "note");
  if (!output) return made;
  made.push(...(output.m ?? []).filter((mark) => mark[0] === place).map((mark) => mark.slice(1)));
  for (const [flat, kind] of [[output.k, "copied"], [output.w, "wrong"]]) {
    for (const [start, end] of places(flat, kind)) {
      made.push(...stretchesIn(text, output.t.slice(start, end)).map(([from, to]) => [from, to, kind]));
    }
  }
  return made;
}

/** A mark as llmtrain.tasks.evidence.Mark tells it, whose places count characters, as marked() takes it. */
function asMark(text, mark) {
  const wide = /[\u{10000}-\u{10ffff}]/u.test(text), at = (place) => wide ? Array.from(text).slice(0, place).join("").length : place;
  return [at(mark.start), at(mark.end), mark.kind, mark.number, mark.weight];
}

/** For other pages: put a text with its marks (JSON of Mark, those of this text alone) into an element. */
const showMarked = (place, text, marks) => place.replaceChildren(...marked(text, marks.map((mark) => asMark(text, mark))));
const showLegend = (place, kinds) => place.replaceChildren(...[legend(new Set(kinds))].filter(Boolean));
const showChances = (place, chances) => place.replaceChildren(...[chancesOf({c: Object.entries(chances)}, null)].filter(Boolean));

/** What the colours mean, of those that a row has. */
function legend(kinds) {
  const shown = Object.keys(KINDS).filter((kind) => kinds.has(kind));
  return shown.length ? element("p", {class: "legend"}, ...shown.map((kind) =>
    element("span", {}, element("mark", {class: kind}, kind === "wrong" ? "copied wrongly" : kind), ` ${KINDS[kind]}`))) : null;
}

/** The probability of each thing that could have been given. */
function chancesOf(output, given) {
  if (!output.c) return null;
  return element("div", {class: "chances"}, ...output.c.flatMap(([name, chance]) => [
    element("bdi", {}, name === given ? element("b", {}, name) : name),
    element("span", {class: "bar", "aria-hidden": "true"}, element("i", {style: `width:${(100 * chance).toFixed(1)}%`})),
    element("span", {}, chance.toFixed(3))]));
}
