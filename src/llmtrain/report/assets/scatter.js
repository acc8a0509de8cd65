// Pictures of all predictions together, as a calibration: points, larger where more rows stand behind them.
"use strict";

function drawPicture(host, picture) {
  const points = [...picture.points].sort((a, b) => a[0] - b[0]), most = Math.max(...points.map((point) => point[2]));
  const place = host.querySelector(".plot");
  host.plot?.destroy();
  place.replaceChildren();
  const data = [points.map((point) => point[0]), points.map((point) => point[1])];
  host.plot = new uPlot({
    width: Math.max(220, Math.min(420, host.clientWidth)), height: 260, legend: {show: false}, cursor: {show: false},
    scales: {x: {time: false, range: [0, 1]}, y: {range: [0, 1]}},
    axes: [axis({size: 40, label: picture.x, labelSize: 16, labelFont: "12px system-ui"}),
      axis({size: 44, label: picture.y, labelSize: 16, labelFont: "12px system-ui"})],
    series: [{}, {paths: () => null, points: {show: false}, stroke: () => colour(runColour(picture.run))}],
    hooks: {draw: [(plot) => {
      const context = plot.ctx, at = (x, y) => [plot.valToPos(x, "x", true), plot.valToPos(y, "y", true)];
      context.save();
      if (picture.diagonal) {
        context.strokeStyle = colour("quiet");
        context.setLineDash([6, 5]);
        context.beginPath();
        context.moveTo(...at(0, 0));
        context.lineTo(...at(1, 1));
        context.stroke();
        context.setLineDash([]);
      }
      context.fillStyle = context.strokeStyle = colour(runColour(picture.run));
      context.lineWidth = 1.5 * devicePixelRatio;
      context.beginPath();
      points.forEach(([x, y], index) => index ? context.lineTo(...at(x, y)) : context.moveTo(...at(x, y)));
      context.stroke();
      for (const [x, y, rows] of points) {
        context.beginPath();
        context.arc(...at(x, y), (3 + 7 * Math.sqrt(rows / most)) * devicePixelRatio, 0, 7);
        context.globalAlpha = 0.75;
        context.fill();
      }
      context.restore();
    }]},
  }, data, place);
}

for (const home of document.querySelectorAll(".pictures")) {
  const part = DATA.parts.find((one) => one.id === home.dataset.part);
  const grid = element("div", {class: "charts"});
  for (const picture of part.pictures) {
    const said = picture.points.map(([x, y, rows]) => `${shortNumber(x)}: ${shortNumber(y)} (${rows} rows)`).join(", ");
    const host = element("figure", {class: "chart"},
      element("h4", {}, picture.title + (DATA.runs.length > 1 ? `, ${DATA.runs[picture.run]}` : "")),
      element("div", {class: "plot", role: "img", tabindex: 0, "aria-label": `${picture.title}. ${picture.y} by ${picture.x}. ${said}`}),
      element("p", {class: "readout"}, picture.about));
    grid.append(host);
    home.append(grid);
    drawPicture(host, picture);
    onThemeChange.push(() => host.plot.redraw(false));
  }
}
