// A study: the score over an axis of numbers, and what it costs, cells coloured by precision.
"use strict";

/** A chart of points with intervals: groups [{name, paint, points: [{x, y, low, high, label}]}], joined or not. */
function drawPoints(host, {x, y, groups, join = true, logarithmic = false, level = null, front = []}) {
  const all = groups.flatMap((group) => group.points), place = host.querySelector(".plot");
  host.plot?.destroy();
  place.replaceChildren();
  if (!all.length) return;
  const xs = [...new Set(all.map((point) => point.x))].sort((a, b) => a - b);
  const ys = [...all.flatMap((point) => [point.low ?? point.y, point.high ?? point.y]), ...(level ? [level.low ?? level.y, level.high ?? level.y] : [])];
  const pad = (Math.max(...ys) - Math.min(...ys)) * 0.08 || 1, wide = (xs.at(-1) - xs[0]) * 0.07 || Math.abs(xs[0]) * 0.2 || 1;
  const readout = host.querySelector(".readout");
  host.plot = new uPlot({
    width: Math.max(220, Math.min(640, host.clientWidth)), height: 250, legend: {show: false}, cursor: {y: false, points: {show: false}},
    scales: {x: {time: false, ...(logarithmic ? {distr: 3, log: 2, range: [xs[0] / 1.4, xs.at(-1) * 1.4]} : {range: [xs[0] - wide, xs.at(-1) + wide]})},
      y: {range: [Math.min(...ys) - pad, Math.max(...ys) + pad]}},
    axes: [axis({size: 44, label: x, labelSize: 16, labelFont: "12px system-ui", space: 50,
      ...(logarithmic ? {splits: () => xs, values: (plot, splits) => splits.map(shortNumber)} : {values: (plot, splits) => splits.map(shortNumber)})}),
      axis({size: 60, label: y, labelSize: 16, labelFont: "12px system-ui", values: (plot, splits) => splits.map(shortNumber)})],
    series: [{}, {paths: () => null, points: {show: false}}],
    hooks: {draw: [(plot) => paint(plot)], setCursor: [(plot) => said(plot.cursor.idx)]},
  }, [xs, xs.map(() => ys[0])], place);

  function paint(plot) {
    const context = plot.ctx, ratio = devicePixelRatio, at = (px, py) => [plot.valToPos(px, "x", true), plot.valToPos(py, "y", true)];
    context.save();
    context.lineWidth = 2 * ratio;
    if (level) {
      const {left, width} = plot.bbox, [, top] = at(xs[0], level.high ?? level.y), [, bottom] = at(xs[0], level.low ?? level.y), [, middle] = at(xs[0], level.y);
      context.fillStyle = pale("quiet", 0.15);
      context.fillRect(left, top, width, Math.max(1, bottom - top));
      line(context, "quiet", [6, 5], [[left, middle], [left + width, middle]]);
    }
    if (front.length > 1) line(context, "quiet", [3, 4], front.map((point) => at(point.x, point.y)));
    groups.forEach((group, place) => {
      const shift = join ? (place - (groups.length - 1) / 2) * 5 * ratio : 0;  // intervals of several groups stand beside each other
      const points = [...group.points].sort((a, b) => a.x - b.x).map((point) => [point, ...at(point.x, point.y)]);
      if (join) line(context, group.paint, [], points.map(([, px, py]) => [px + shift, py]));
      for (const [point, px, py] of points) {
        if (point.low != null && point.high != null) {
          context.globalAlpha = join ? 1 : 0.35;
          line(context, group.paint, [], [[px + shift, at(point.x, point.low)[1]], [px + shift, at(point.x, point.high)[1]]]);
          context.globalAlpha = 1;
        }
        context.fillStyle = colour(group.paint);
        context.beginPath();
        context.arc(px + shift, py, 4.5 * ratio, 0, 7);
        context.fill();
      }
    });
    context.restore();
  }

  function said(index) {
    const value = index == null ? null : xs[index];
    readout.replaceChildren(...groups.flatMap((group) => group.points.filter((point) => point.x === value || value === null && point.first)
      .map((point) => element("span", {}, element("i", {class: "swatch", style: `background:var(--${group.paint})`}),
        element("bdi", {}, point.label), " ", element("b", {}, shortNumber(point.y))))));
  }
}

function line(context, paint, dash, points) {
  context.strokeStyle = colour(paint);
  context.setLineDash(dash.map((length) => length * devicePixelRatio));
  context.beginPath();
  points.forEach(([x, y], index) => index ? context.lineTo(x, y) : context.moveTo(x, y));
  context.stroke();
  context.setLineDash([]);
}

function placeStudy() {
  const home = document.getElementById("study-charts"), study = DATA.study;
  if (!home || !study) return;
  const kinds = [...new Set(study.cells.map((cell) => String(cell.words[study.coloured] ?? "")))];
  const paintOf = (cell) => runColour(kinds.indexOf(String(cell.words[study.coloured] ?? "")));
  const base = study.cells.find((cell) => cell.base), level = base && {y: base.score, low: base.low, high: base.high};
  const grouped = (cells, x) => kinds.map((kind, place) => ({name: kind, paint: runColour(place), points: cells
    .filter((cell) => String(cell.words[study.coloured] ?? "") === kind)
    .map((cell) => ({x: x(cell), y: cell.score, low: cell.low, high: cell.high, label: cell.name})).filter((point) => point.x != null)}))
    .filter((group) => group.points.length);
  const panels = [];
  for (const name of study.numeric) {
    const rest = (cell) => study.others.concat(study.numeric.filter((other) => other !== name)).map((other) => `${other}=${cell.words[other]}`).join(" ");
    for (const which of [...new Set(study.cells.filter((cell) => cell.axes[name] != null).map(rest))]) {
      const cells = study.cells.filter((cell) => cell.axes[name] != null && rest(cell) === which);
      const values = cells.map((cell) => cell.axes[name]), wide = Math.min(...values) > 0 && Math.max(...values) / Math.min(...values) >= 8;
      panels.push([`${study.metric} over ${name}`, which, {x: name, y: study.metric, groups: grouped(cells, (cell) => cell.axes[name]), logarithmic: wide, level},
        level ? "dashed: the base cell with its interval" : ""]);
    }
  }
  for (const [key, words, unit] of [["seconds", "time", "seconds of training"], ["memory", "memory", "peak memory, MiB"]]) {
    const cells = study.cells.filter((cell) => cell[key] != null);
    if (cells.length < 2) continue;
    const front = cells.filter((cell) => study.fronts[key].includes(cell.name)).map((cell) => ({x: cell[key], y: cell.score})).sort((a, b) => a.x - b.x);
    panels.push([`${study.metric} against ${words}`, "", {x: unit, y: study.metric, groups: grouped(cells, (cell) => cell[key]), join: false, front},
      `dotted: cells that no other beats in both (${study.fronts[key].join(", ")})`]);
  }
  for (const [title, which, options, note] of panels) {
    const spoken = options.groups.flatMap((group) => group.points.map((point) => `${point.label}: ${shortNumber(point.y)} at ${shortNumber(point.x)}`)).join(", ");
    const keys = options.groups.filter((group) => group.name).map((group) => element("span", {}, element("i", {class: "swatch", style: `background:var(--${group.paint})`}), element("bdi", {}, group.name)));
    const host = element("figure", {class: "chart wide"}, element("h4", {}, title, element("span", {}, ` ${which}`)), element("div", {class: "keys"}, ...keys, element("span", {}, note)),
      element("div", {class: "plot", tabindex: 0, role: "img", "aria-label": `${title} ${which}. ${spoken}`}), element("p", {class: "readout"}));
    home.append(host);
    drawPoints(host, options);
    onThemeChange.push(() => host.plot?.redraw(false));
  }
}
placeStudy();
