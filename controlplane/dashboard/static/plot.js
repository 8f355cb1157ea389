/* Plots: one small chart per metric, one line per attempt and task, drawn as SVG. */

import { el, show, svg } from "/static/dom.js";
import { number } from "/static/format.js";
import { logScale, linearScale, thinned, ticks } from "/static/scale.js";

const WIDTH = 460;
const HEIGHT = 190;
const LEFT = 52;
const RIGHT = 10;
const TOP = 10;
const BOTTOM = 24;
const MOST_LINES = 8;
const MOST_CHARTS = 24;

export function plots() {
  const charts = new Map();
  const grid = el("div", { class: "charts" });
  const logarithmic = el("input", { id: "log-scale", type: "checkbox", on: { change: () => charts.forEach((chart) => chart.redraw()) } });
  const bar = el("div", { class: "bar", hidden: true }, el("label", { class: "check" }, logarithmic, "Logarithmic, where all values are above 0"));
  const empty = el("p", { class: "empty" }, "Nothing was reported yet. Code reports by appending to the file that ", el("code", {}, "CROSSDOCK_RECORDS"), " names.");
  const left = el("p", { class: "quiet", hidden: true });

  function update(points) {
    const metrics = [...byMetric(points)];
    for (const [name, lines] of metrics.slice(0, MOST_CHARTS)) {
      const chart = charts.get(name) ?? newChart(name, () => logarithmic.checked);
      if (!charts.has(name)) grid.append(chart.element);
      charts.set(name, chart);
      chart.update(lines);
    }
    const hidden = metrics.length - MOST_CHARTS;
    left.hidden = hidden <= 0;
    left.textContent = `${hidden} more metrics are not drawn.`;
    bar.hidden = !metrics.length;
    empty.hidden = metrics.length > 0;
  }

  return { element: el("div", {}, bar, grid, left, empty), update };
}

/** Metric -> lines; a line is named by what tells it from the others. */
function byMetric(points) {
  const attempts = new Set(points.map((point) => point.attempt_number));
  const ranks = new Set(points.map((point) => point.rank));
  const metrics = new Map();
  for (const point of points) {
    const parts = [attempts.size > 1 ? `attempt ${point.attempt_number}` : null, ranks.size > 1 ? `task ${point.rank}` : null];
    const line = parts.filter(Boolean).join(", ");
    for (const [name, value] of Object.entries(point.values)) {
      if (value === null) continue;
      if (!metrics.has(name)) metrics.set(name, new Map());
      const lines = metrics.get(name);
      if (!lines.has(line)) lines.set(line, []);
      lines.get(line).push({ x: point.step, y: value });
    }
  }
  for (const lines of metrics.values()) for (const line of lines.values()) line.sort((a, b) => a.x - b.x);
  return metrics;
}

function newChart(name, isLogarithmic) {
  const readout = el("span", { class: "readout", "aria-live": "polite" });
  const legend = el("ul", { class: "legend" });
  const canvas = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", tabindex: "0" });
  const element = el("figure", { class: "card chart" }, el("figcaption", {}, el("strong", {}, name), readout), canvas, legend);
  const cursor = svg("g", { class: "cursor" });
  let lines = [];
  let frame = null;
  let at = null;

  function update(found) {
    const all = [...found].map(([label, points]) => ({ label, points }));
    const same = all.length === lines.length && all.every((line, index) => line.points.length === lines[index].points.length);
    lines = all;
    if (!same) redraw();
  }

  function redraw() {
    const shown = lines.slice(0, MOST_LINES);
    frame = frameOf(shown, isLogarithmic());
    canvas.replaceChildren(...axes(frame), ...shown.map((line, index) => path(line, index, frame)), cursor);
    canvas.setAttribute("aria-label", `${name}: ${shown.map((line) => `${line.label || "last value"} ${number(line.points.at(-1).y)}`).join("; ")}`);
    point(at);
  }

  /** Shows the values at the step `x`, or the last ones. */
  function point(x) {
    at = x;
    const shown = lines.slice(0, MOST_LINES);
    const near = shown.map((line) => (x === null ? line.points.at(-1) : within(line.points, x)));
    const last = Math.max(...shown.map((line) => line.points.at(-1).x));
    const values = near.map((each) => (each ? number(each.y) : "–"));
    readout.textContent = `${shown.length === 1 ? `${values[0]} at ` : ""}step ${x ?? last}`;
    const hidden = lines.length - MOST_LINES;
    const entries = shown.map((line, index) => el("li", { class: `series-${index}` }, line.label, el("b", {}, values[index])));
    show(legend, ...(shown.length > 1 ? entries : []), hidden > 0 ? el("li", { class: "quiet" }, `${hidden} more are not drawn`) : null);
    cursor.replaceChildren();
    if (x === null) return;
    cursor.append(svg("line", { x1: frame.x(x), x2: frame.x(x), y1: TOP, y2: HEIGHT - BOTTOM }));
    near.forEach((each, index) => {
      if (each) cursor.append(svg("circle", { cx: frame.x(each.x), cy: frame.y(each.y), r: 3, class: `series-${index}` }));
    });
  }

  function steps() {
    return [...new Set(lines.flatMap((line) => line.points.map((each) => each.x)))].sort((a, b) => a - b);
  }

  canvas.addEventListener("pointermove", (event) => {
    const box = canvas.getBoundingClientRect();
    const wanted = frame.step(((event.clientX - box.left) / box.width) * WIDTH);
    point(nearest(lines.flatMap((line) => line.points).sort((a, b) => a.x - b.x), wanted).x);
  });
  canvas.addEventListener("pointerleave", () => point(null));
  canvas.addEventListener("blur", () => point(null));
  canvas.addEventListener("keydown", (event) => {
    const move = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!move) return;
    event.preventDefault();
    const all = steps();
    const index = at === null ? all.length - 1 : all.indexOf(at) + move;
    point(all[Math.max(0, Math.min(all.length - 1, index))]);
  });
  return { element, update, redraw };
}

function frameOf(lines, wantsLog) {
  const points = lines.flatMap((line) => line.points);
  const xs = points.map((each) => each.x);
  const ys = points.map((each) => each.y);
  const bounds = (values) => values.reduce(([low, high], value) => [Math.min(low, value), Math.max(high, value)], [Infinity, -Infinity]);
  const [left, right] = bounds(xs);
  const [low, high] = bounds(ys);
  const x = linearScale(left, right === left ? left + 1 : right, LEFT, WIDTH - RIGHT);
  const vertical = wantsLog && low > 0 ? logScale : linearScale;
  const margin = (high - low) * 0.04 || Math.abs(high) * 0.1 || 1;
  const y = vertical(low - (vertical === logScale ? 0 : margin), high + margin, HEIGHT - BOTTOM, TOP);
  return { x: x.place, y: y.place, step: x.value, xTicks: ticks(x, 8), yTicks: y.ticks ?? ticks(y, 6) };
}

function axes(frame) {
  const horizontal = frame.yTicks.flatMap((value) => [
    svg("line", { class: "grid", x1: LEFT, x2: WIDTH - RIGHT, y1: frame.y(value), y2: frame.y(value) }),
    svg("text", { class: "tick", x: LEFT - 6, y: frame.y(value) + 3.5, "text-anchor": "end" }, number(value)),
  ]);
  const vertical = frame.xTicks
    .filter(Number.isInteger)
    .map((value) => svg("text", { class: "tick", x: frame.x(value), y: HEIGHT - 8, "text-anchor": "middle" }, number(value)));
  return [...horizontal, ...vertical];
}

function path(line, index, frame) {
  const places = thinned(line.points, WIDTH).map((each) => [frame.x(each.x), frame.y(each.y)]);
  if (places.length === 1) return svg("circle", { class: `series-${index}`, cx: places[0][0], cy: places[0][1], r: 3 });
  return svg("path", { class: `line series-${index}`, d: places.map(([x, y], at) => `${at ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`).join("") });
}

/** Null where the line has not begun yet or has ended before. */
function within(points, x) {
  return x < points[0].x || x > points.at(-1).x ? null : nearest(points, x);
}

function nearest(points, x) {
  let low = 0;
  let high = points.length - 1;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    points[middle].x <= x ? (low = middle) : (high = middle);
  }
  return Math.abs(points[low].x - x) <= Math.abs(points[high].x - x) ? points[low] : points[high];
}
