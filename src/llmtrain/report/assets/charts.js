// Curves of the runs: one chart for what belongs together, runs over one another.
"use strict";
const DASHES = [[], [6, 4], [2, 3], [9, 3, 2, 3], [14, 4]];
const AXES = {step: "step", minutes: "minutes of training", tokens: "target tokens"};
const curveState = {hidden: new Set(), x: "step", smooth: 0, weighted: false};
const plots = [];

/** Exponential moving average that starts at the first value, without the pull to zero. */
function smoothed(values, share) {
  let sum = 0, weight = 0;
  return values.map((value) => {
    if (value === null || value === undefined) return value;
    sum = share * sum + (1 - share) * value;
    weight = share * weight + (1 - share);
    return sum / weight;
  });
}

/** The lines of a chart that are shown now, each with its points. */
function linesOf(chart) {
  const lines = curveState.weighted && chart.weighted.length ? chart.weighted : chart.lines;
  const found = [];
  DATA.curves.forEach((curves, run) => {
    if (curveState.hidden.has(run)) return;
    lines.forEach((line, place) => {
      const columns = curves[line.split];
      if (!columns || !columns[line.key]) return;
      const x = columns[curveState.x] ?? columns.step;
      const keep = x.map((value, index) => index).filter((index) => columns[line.key][index] != null && x[index] != null
        && (index === 0 || x[index] > x[index - 1]));
      const pick = (key) => key && columns[key] ? keep.map((index) => columns[key][index]) : null;
      found.push({
        run, line, place, x: keep.map((index) => x[index]), y: pick(line.key), low: pick(line.low), high: pick(line.high),
        counts: chart.marks ? pick(chart.marks) : null,
        paint: DATA.runs.length > 1 ? runColour(run) : runColour(place),
      });
    });
  });
  return found.filter((one) => one.x.length);
}

/** Series and aligned columns for uPlot: of a smoothed line the points themselves stay behind it, pale. */
function seriesOf(lines) {
  const tables = [], series = [{}], bands = [];
  const add = (x, y, options) => { tables.push([x, y]); series.push({spanGaps: true, points: {show: false}, ...options}); };
  for (const one of lines) {
    const dash = DASHES[one.place % DASHES.length], smooth = curveState.smooth > 0 && one.line.split === "train";
    if (one.low && one.high) {
      add(one.x, one.high, {stroke: "transparent"});
      add(one.x, one.low, {stroke: "transparent"});
      bands.push({series: [series.length - 2, series.length - 1], fill: () => pale(one.paint, 0.22)});
    }
    if (smooth) add(one.x, one.y, {stroke: () => pale(one.paint, 0.3), width: 1});
    const few = one.x.length <= 8 && !smooth;
    add(one.x, smooth ? smoothed(one.y, curveState.smooth) : one.y, {
      stroke: () => colour(one.paint), width: 2, dash, points: {show: few, size: 5, fill: () => colour(one.paint)}, shown: one});
  }
  return {data: tables.length ? uPlot.join(tables) : [[], []], series, bands};
}

function pale(name, share) {
  return colour(name).replace(/^rgb\((.*)\)$/, `rgba($1, ${share})`).replace(/^color\((.*)\)$/, `color($1 / ${share})`);
}

/** Marks where a count grew, as steps that were skipped. */
function drawMarks(plot, lines) {
  const context = plot.ctx, {top, height} = plot.bbox;
  context.save();
  for (const one of lines.filter((line) => line.counts)) {
    one.counts.forEach((count, index) => {
      if (!(count > (index ? one.counts[index - 1] : 0))) return;
      const x = Math.round(plot.valToPos(one.x[index], "x", true));
      context.strokeStyle = context.fillStyle = colour("bad");
      context.globalAlpha = 0.55;
      context.fillRect(x, top, devicePixelRatio, height);
      context.globalAlpha = 1;
      context.beginPath();
      context.moveTo(x - 5 * devicePixelRatio, top);
      context.lineTo(x + 5 * devicePixelRatio, top);
      context.lineTo(x, top + 8 * devicePixelRatio);
      context.fill();
    });
  }
  context.restore();
}

function axis(options = {}) {
  return {stroke: () => colour("quiet"), grid: {stroke: () => colour("line"), width: 1}, ticks: {show: false},
    font: "12px system-ui, sans-serif", ...options};
}

/** Draw or redraw a chart into its place. */
function drawChart(host, chart) {
  const lines = linesOf(chart), {data, series, bands} = seriesOf(lines), plotPlace = host.querySelector(".plot");
  host.plot?.destroy();
  plotPlace.replaceChildren();
  const readout = host.querySelector(".readout");
  readout.replaceChildren(lines.length ? "" : "nothing of the chosen runs to show");
  describe(host, chart, lines);
  host.plot = null;
  if (!lines.length) return;
  const told = (index) => tell(readout, host.plot, index);
  host.plot = new uPlot({
    width: Math.max(220, host.clientWidth), height: 190, legend: {show: false}, bands, series,
    cursor: {y: false, drag: {x: true, y: false}, points: {size: 7}},
    scales: {x: {time: false}, y: chart.logarithmic ? {distr: 3, log: 2} : {}},
    axes: [axis({size: 26, space: 60, values: (plot, splits) => splits.map(shortNumber)}),
      axis({size: 56, values: (plot, splits) => splits.map((value) => value === null ? "" : shortNumber(value))})],
    hooks: {draw: [(plot) => drawMarks(plot, lines)], setCursor: [(plot) => told(plot.cursor.idx)]},
  }, data, plotPlace);
  told(null);
}

/** What a chart shows, for those who do not see it. */
function describe(host, chart, lines) {
  const said = lines.map((one) => `${DATA.runs[one.run]}, ${one.line.label}: ${shortNumber(one.y[0])} at ${curveState.x} ` +
    `${shortNumber(one.x[0])}, ${shortNumber(one.y.at(-1))} at ${shortNumber(one.x.at(-1))}`);
  host.querySelector(".plot").setAttribute("aria-label", `Chart. ${chart.group}, ${chart.title}. ${said.join(". ")}`);
}

/** The values under the cursor, run by run; without one the last ones. */
function tell(readout, plot, index) {
  if (!plot) return;
  const at = index ?? plot.data[0].length - 1, parts = new Map();
  const several = DATA.runs.length > 1;
  plot.series.forEach((series, place) => {
    if (!series.shown) return;
    let near = at;
    while (near >= 0 && plot.data[place][near] == null) near--;
    const {run, line, paint} = series.shown, value = shortNumber(near < 0 ? null : plot.data[place][near]);
    const key = several ? run : place;
    if (!parts.has(key)) parts.set(key, element("span", {}, element("i", {class: "swatch", style: `background:var(--${paint})`})));
    const part = parts.get(key), name = several ? (part.childNodes.length > 1 ? "" : DATA.runs[run]) : line.label;
    part.append(part.childNodes.length > 1 ? " · " : "", element("bdi", {}, name), " ", element("b", {}, value));
  });
  readout.replaceChildren(element("span", {}, `${AXES[curveState.x]} ${shortNumber(plot.data[0][at])}`), ...parts.values());
}

/** Arrow keys move the cursor of a chart that has the focus. */
function moveCursor(event, host) {
  const move = {ArrowLeft: -1, ArrowRight: 1, Home: -1e9, End: 1e9}[event.key];
  if (!move || !host.plot) return;
  event.preventDefault();
  const last = host.plot.data[0].length - 1, now = host.plot.cursor.idx ?? (move < 0 ? last + 1 : -1);
  const next = Math.min(last, Math.max(0, now + move));
  host.plot.setCursor({left: host.plot.valToPos(host.plot.data[0][next], "x"), top: 20});
}

/** What solid and dashed lines stand for, where a chart has several. */
function keysOf(chart) {
  const labels = chart.lines.map((line) => line.label);
  if (labels.length < 2) return [];
  return labels.map((label, place) => {
    const stroke = DATA.runs.length > 1 ? "var(--quiet)" : `var(--${runColour(place)})`;
    const picture = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    picture.setAttribute("width", 26);
    picture.setAttribute("height", 6);
    const line = document.createElementNS("http://www.w3.org/2000/svg", "path");
    line.setAttribute("d", "M0 3H26");
    line.setAttribute("style", `stroke:${stroke};stroke-width:2;stroke-dasharray:${DASHES[place % DASHES.length].join(" ")}`);
    picture.append(line);
    return element("span", {}, picture, label);
  });
}

function placeCharts() {
  const home = document.getElementById("charts");
  if (!home) return;
  for (const chart of DATA.charts) {
    const host = element("figure", {class: "chart"},
      element("h4", {}, `${chart.group}`, element("span", {}, ` ${chart.title}`)), element("div", {class: "keys"}, ...keysOf(chart)),
      element("div", {class: "plot", tabindex: 0, role: "img", onkeydown: (event) => moveCursor(event, host)}),
      element("p", {class: "readout"}));
    home.append(host);
    plots.push([host, chart]);
  }
  placeControls();
  drawCharts();
  let width = home.clientWidth;
  new ResizeObserver(() => {
    if (home.clientWidth !== width) { width = home.clientWidth; drawCharts(); }
  }).observe(home);
  onThemeChange.push(() => plots.forEach(([host]) => host.plot?.redraw(false)));
}

const drawCharts = () => plots.forEach(([host, chart]) => drawChart(host, chart));

function placeControls() {
  const home = document.getElementById("curve-controls");
  if (DATA.runs.length > 1) {
    home.append(element("fieldset", {}, element("legend", {}, "Runs"), ...DATA.runs.map((name, run) =>
      element("label", {}, element("input", {type: "checkbox", checked: true, onchange: (event) => {
        event.target.checked ? curveState.hidden.delete(run) : curveState.hidden.add(run);
        drawCharts();
      }}), swatch(run), element("bdi", {}, name)))));
  }
  const has = (key) => DATA.curves.some((curves) => Object.values(curves).some((columns) => columns[key]));
  home.append(element("label", {}, "Over", element("select", {onchange: (event) => {
    curveState.x = event.target.value;
    drawCharts();
  }}, ...Object.entries(AXES).filter(([key]) => has(key)).map(([key, words]) => element("option", {value: key}, words)))));
  const shown = element("output", {}, "none");
  home.append(element("label", {}, "Smoothing", element("input", {type: "range", min: 0, max: 0.95, step: 0.05, value: 0,
    oninput: (event) => {
      curveState.smooth = Number(event.target.value);
      shown.textContent = curveState.smooth ? curveState.smooth.toFixed(2) : "none";
      drawCharts();
    }}), shown));
  if (DATA.charts.some((chart) => chart.weighted.length)) {
    home.append(element("label", {}, element("input", {type: "checkbox", id: "weighted", onchange: (event) => {
      curveState.weighted = event.target.checked;
      drawCharts();
    }}), "Terms as they count in the loss (times lambda)"));
  }
}
placeCharts();
