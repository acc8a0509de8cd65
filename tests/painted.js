// How many points of each canvas have the colour of a run, for a test's browser: one without a line has none.
const wanted = [0, 1].map((run) => colour(`run${run}`).match(/[\d.]+/g).slice(0, 3).map(Number));
return [...document.querySelectorAll('canvas')].map((canvas) => {
  const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
  let found = 0;
  for (let at = 0; at < data.length; at += 4) {
    if (data[at + 3] > 200 && wanted.some((one) => one.every((value, place) => Math.abs(value - data[at + place]) < 3))) found++;
  }
  return found;
});
