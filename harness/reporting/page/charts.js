// Line plots of losses, and tooltips of plot marks.

const PLOT = { height: 240, left: 52, right: 12, top: 10, bottom: 34 };

const round = (value) => (Number.isInteger(value) ? value.toLocaleString("en") : String(Number(value.toPrecision(4))));

function roundTicks(low, high, most) {
  const unit = 10 ** Math.floor(Math.log10((high - low) / most));
  const step = [1, 2, 5, 10].map((factor) => factor * unit).find((candidate) => (high - low) / candidate <= most);
  const ticks = [];
  for (let n = Math.ceil(low / step - 1e-9); n * step <= high + step * 1e-9; n++) ticks.push(Number((n * step).toPrecision(10)));
  return ticks;
}

function decades(low, high) {
  const ticks = [];
  for (let n = Math.floor(low); n <= high; n++) for (const f of [1, 2, 5]) ticks.push(Math.log10(f) + n);
  const within = ticks.filter((tick) => tick >= low && tick <= high);
  const powers = within.filter((tick) => Number.isInteger(tick));
  return within.length > 8 && powers.length > 1 ? powers : within;
}

// series: [{ name, colour, faint, steps, values }]; null values are gaps. stages: [[name, last step]].
function linePlot({ series, title, width, height = PLOT.height, log = false, stages = [] }) {
  const to = (value) => (value === null || (log && value <= 0) ? null : log ? Math.log10(value) : value);
  const drawn = series.map((line) => ({ ...line, points: line.steps.map((x, i) => [x, to(line.values[i])]) }));
  const ys = drawn.flatMap((line) => line.points.map((point) => point[1])).filter((y) => y !== null);
  if (!ys.length) return h("p", { class: "note" }, "Nothing to draw: no finite values.");
  const last = Math.max(...drawn.flatMap((line) => line.steps));
  let [low, high] = [Math.min(...ys), Math.max(...ys)];
  const margin = (high - low) * 0.05 || Math.abs(high) * 0.1 || 1;
  [low, high] = [low - margin, high + margin];
  const x = (value) => PLOT.left + (value / last) * (width - PLOT.left - PLOT.right);
  const y = (value) => height - PLOT.bottom - ((value - low) / (high - low)) * (height - PLOT.top - PLOT.bottom);
  const grid = (log ? decades(low, high) : roundTicks(low, high, 5)).map((tick) => [
    svg("line", { class: "grid", x1: PLOT.left, x2: width - PLOT.right, y1: y(tick), y2: y(tick) }),
    svg("text", { class: "tick end", x: PLOT.left - 7, y: y(tick) + 4 }, round(log ? 10 ** tick : tick)),
  ]);
  const steps = roundTicks(0, last, Math.max(2, Math.floor(width / 110))).map((tick) =>
    svg("text", { class: "tick middle", x: x(tick), y: height - PLOT.bottom + 16 }, round(tick)));
  const ends = stages.map(([name, step], index) => [
    index < stages.length - 1 && svg("line", { class: "stage", x1: x(step), x2: x(step), y1: PLOT.top, y2: height - PLOT.bottom }),
    stages.length > 1 && svg("text", { class: "tick end", x: x(step) - 4, y: PLOT.top + 10 }, name),
  ]);
  const lines = drawn.map((line) => {
    const path = line.points.map(([px, py], i) =>
      py === null ? "" : `${i && line.points[i - 1][1] !== null ? "L" : "M"}${x(px).toFixed(1)} ${y(py).toFixed(1)}`).join("");
    const end = line.points.filter((point) => point[1] !== null).at(-1);
    const description = end && `${line.name}: ${round(log ? 10 ** end[1] : end[1])} at step ${round(end[0])}`;
    return end && svg("g", { class: `series ${line.colour}${line.faint ? " faint" : ""}`, tabindex: line.faint ? null : 0, role: "img", "aria-label": description, "data-tip": description },
      svg("path", { class: "wide", d: path }), svg("path", { d: path }), svg("circle", { cx: x(end[0]), cy: y(end[1]), r: 3 }));
  });
  return svg("svg", { class: "chart", viewBox: `0 0 ${width} ${height}`, width, height, role: "group", "aria-label": title },
    grid, steps, svg("text", { class: "axis end", x: width - PLOT.right, y: height - 3 }, "step"), ends, lines);
}

function tooltips() {
  for (const mark of all("svg a > title")) {
    mark.parentNode.dataset.tip = mark.textContent;
    mark.remove();
  }
  const box = h("div", { class: "tip", role: "tooltip", hidden: true });
  document.body.append(box);
  const show = (event) => {
    const mark = event.target.closest?.("[data-tip]");
    box.hidden = !mark;
    if (!mark) return;
    box.textContent = mark.dataset.tip;
    const dot = (mark.querySelector("circle, rect") ?? mark).getBoundingClientRect();
    const size = box.getBoundingClientRect();
    const left = Math.min(Math.max(8, dot.left + dot.width / 2 - size.width / 2), innerWidth - size.width - 8);
    const above = dot.top - size.height - 10;
    box.style.left = `${left}px`;
    box.style.top = `${above > 4 ? above : dot.bottom + 10}px`;
  };
  document.addEventListener("pointerover", show);
  document.addEventListener("focusin", show);
  document.addEventListener("scroll", () => (box.hidden = true), true);
  document.addEventListener("keydown", (event) => event.key === "Escape" && (box.hidden = true));
}
