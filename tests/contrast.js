// Texts of the page whose contrast is less than WCAG 2.2 asks for (AA: 4.5, of large ones 3), for a test's browser.
const parse = (text) => { const n = text.match(/[\d.]+/g).map(Number); return text.startsWith('color(srgb')
  ? [n[0] * 255, n[1] * 255, n[2] * 255, n[3] ?? 1] : [n[0], n[1], n[2], n[3] ?? 1]; };
const light = (c) => { const [r, g, b] = c.map((v) => { v /= 255; return v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4; });
  return .2126 * r + .7152 * g + .0722 * b; };
const behind = (node) => { const layers = []; for (let at = node; at; at = at.parentElement) layers.push(parse(getComputedStyle(at).backgroundColor));
  let base = [255, 255, 255]; for (const [r, g, b, a] of layers.reverse()) base = base.map((v, i) => v * (1 - a) + [r, g, b][i] * a); return base; };
const bad = [], walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
let seen = 0;
while (walk.nextNode()) {
  const node = walk.currentNode.parentElement;
  if (!walk.currentNode.data.trim() || ['SCRIPT', 'STYLE', 'NOSCRIPT', 'OPTION'].includes(node.tagName) || !node.checkVisibility()) continue;
  if (node.closest('button:disabled') || node.closest('.skip')) continue;
  const style = getComputedStyle(node), back = behind(node), [r, g, b] = parse(style.color);
  const [a, c] = [light([r, g, b]), light(back)], ratio = (Math.max(a, c) + .05) / (Math.min(a, c) + .05);
  const large = parseFloat(style.fontSize) >= 24 || (parseFloat(style.fontSize) >= 18.66 && style.fontWeight >= 700);
  seen++;
  if (ratio < (large ? 3 : 4.5)) bad.push([walk.currentNode.data.trim().slice(0, 30), node.className, style.color, back.join(), ratio.toFixed(2)]);
}
return {seen, bad};
