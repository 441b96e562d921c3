// Shows under the pointer the figures of the nearest step. Points are [left %, top %, step, text].
for (const chart of document.querySelectorAll(".chart")) {
  const lines = JSON.parse(chart.dataset.points);
  const canvas = chart.querySelector(".canvas");
  const pointer = canvas.querySelector(".pointer");
  const tip = canvas.querySelector(".tip");
  const nearest = (points, left) =>
    points.reduce((best, point) => (Math.abs(point[0] - left) < Math.abs(best[0] - left) ? point : best));

  const show = (event) => {
    const box = canvas.getBoundingClientRect();
    const left = (100 * (event.clientX - box.left)) / box.width;
    const step = nearest(lines.flatMap((line) => line.points), left);
    tip.replaceChildren(Object.assign(document.createElement("b"), { textContent: `step ${step[2].toLocaleString("en")}` }));
    for (const line of lines) {
      const point = nearest(line.points, step[0]);
      const row = document.createElement("div");
      const key = Object.assign(document.createElement("i"), { className: `key c${line.colour}` });
      const away = point[2] === step[2] ? "" : ` (step ${point[2].toLocaleString("en")})`;
      row.append(key, `${line.label} ${point[3]}${away}`);
      tip.append(row);
    }
    pointer.hidden = tip.hidden = false;
    pointer.style.left = `${step[0]}%`;
    const right = step[0] > 50;
    tip.style.left = right ? "auto" : `calc(${step[0]}% + 10px)`;
    tip.style.right = right ? `calc(${100 - step[0]}% + 10px)` : "auto";
  };
  const hide = () => { pointer.hidden = tip.hidden = true; };
  canvas.addEventListener("pointermove", show);
  canvas.addEventListener("pointerdown", show);
  canvas.addEventListener("pointerleave", hide);
}
