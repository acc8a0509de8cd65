// The difference of two texts, word by word; by characters in scripts that write no spaces.
"use strict";
const PIECES = /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Thai}]|[\p{L}\p{M}\p{N}]+|\s+|[^\s\p{L}\p{M}\p{N}]/gu;
const LARGEST_TABLE = 4e6; // cells of the table of longest common subsequences

/** The steps from one text to another, [what, text]: 0 stays, -1 goes, 1 comes. Null where the texts are too long. */
function difference(from, to) {
  const a = from.match(PIECES) ?? [], b = to.match(PIECES) ?? [];
  let start = 0;
  while (start < a.length && start < b.length && a[start] === b[start]) start++;
  let end = 0;
  while (end < a.length - start && end < b.length - start && a[a.length - 1 - end] === b[b.length - 1 - end]) end++;
  const middle = common(a.slice(start, a.length - end), b.slice(start, b.length - end));
  if (!middle) return null;
  const steps = [[0, a.slice(0, start).join("")], ...middle, [0, end ? a.slice(-end).join("") : ""]];
  return joined(steps.filter(([, text]) => text));
}

/** By the longest common subsequence (Wagner and Fischer 1974). */
function common(a, b) {
  const width = b.length + 1;
  if ((a.length + 1) * width > LARGEST_TABLE) return null;
  const longest = new Uint16Array((a.length + 1) * width);
  for (let i = a.length - 1; i >= 0; i--) {
    for (let j = b.length - 1; j >= 0; j--) {
      longest[i * width + j] = a[i] === b[j] ? longest[(i + 1) * width + j + 1] + 1
        : Math.max(longest[(i + 1) * width + j], longest[i * width + j + 1]);
    }
  }
  const steps = [];
  let i = 0, j = 0;
  while (i < a.length || j < b.length) {
    if (i < a.length && j < b.length && a[i] === b[j]) { steps.push([0, a[i++]]); j++; }
    else if (i < a.length && (j === b.length || longest[(i + 1) * width + j] >= longest[i * width + j + 1])) steps.push([-1, a[i++]]);
    else steps.push([1, b[j++]]);
  }
  return steps;
}

/** Neighbours of one kind as one; a space between two changes is part of them, so that phrases stay whole. */
function joined(steps) {
  const made = [];
  let goes = "", comes = "";
  const flush = () => {
    if (goes) made.push([-1, goes]);
    if (comes) made.push([1, comes]);
    goes = comes = "";
  };
  steps.forEach(([what, text], index) => {
    const between = what === 0 && /^\s+$/.test(text) && (goes || comes) && index + 1 < steps.length && steps[index + 1][0] !== 0;
    if (between) { if (goes) goes += text; if (comes) comes += text; return; }
    if (what === 0) { flush(); made.push([0, text]); }
    else if (what < 0) goes += text;
    else comes += text;
  });
  flush();
  return made;
}

/** Elements for an output as it differs from another text. */
function differenceShown(from, to) {
  const steps = difference(from, to);
  if (!steps) return [element("i", {}, "These texts are too long to be compared here. "), to];
  return steps.map(([what, text]) => what === 0 ? text : element(what < 0 ? "del" : "ins", {}, text));
}
