// Plots as inline SVG, by text alone: no style attributes, so that the strict CSP holds.
const NS = "http://www.w3.org/2000/svg";
const W = 560, H = 240, LEFT = 48, RIGHT = 12, TOP = 12, BOTTOM = 40;

function s(tag, attributes, ...children) {
  const element = document.createElementNS(NS, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, String(value));
  element.append(...children);
  return element;
}

const short = (value) => (Math.abs(value) >= 100 ? value.toFixed(0) : Math.abs(value) >= 10 ? value.toFixed(1) : value.toFixed(2)).replace(/\.0+$/, "");

// One line. points: [[x, y]], ascending x. label(x): what stands at the axis. log: x by its logarithm.
export function plot(title, xName, yName, points, { label = short, ticks = null, log = false } = {}) {
  if (!points.length) return s("svg", { width: 0, height: 0, "aria-hidden": "true" });
  const at = log ? Math.log : (value) => value;
  const xs = points.map((p) => at(p[0])), ys = points.map((p) => p[1]);
  const [x0, x1] = [Math.min(...xs), Math.max(...xs)], top = Math.max(...ys, 1e-9) * 1.05;
  const px = (x) => LEFT + (x1 > x0 ? (at(x) - x0) / (x1 - x0) : 0.5) * (W - LEFT - RIGHT);
  const py = (y) => H - BOTTOM - (Math.max(0, y) / top) * (H - TOP - BOTTOM);
  const marks = ticks || points.map((p) => p[0]);
  const svg = s("svg", { viewBox: `0 0 ${W} ${H}`, class: "plot", role: "img", "aria-label": `${title}: ${points.length} points, ${yName} from ${short(Math.min(...ys))} to ${short(Math.max(...ys))}` },
    s("title", {}, title));
  for (const share of [0, 0.5, 1]) {
    const y = (top / 1.05) * share;
    svg.append(s("line", { x1: LEFT, x2: W - RIGHT, y1: py(y), y2: py(y), class: "grid-line" }), s("text", { x: LEFT - 6, y: py(y) + 4, "text-anchor": "end" }, short(y)));
  }
  let last = -Infinity;
  for (const x of marks) {
    if (px(x) - last < 40) continue;
    last = px(x);
    svg.append(s("text", { x: px(x), y: H - BOTTOM + 16, "text-anchor": "middle" }, label(x)));
  }
  svg.append(s("text", { x: (LEFT + W - RIGHT) / 2, y: H - 4, "text-anchor": "middle" }, xName),
    s("polyline", { points: points.map((p) => `${px(p[0]).toFixed(1)},${py(p[1]).toFixed(1)}`).join(" "), class: "line" }));
  if (points.length <= 40) {
    for (const [x, y] of points) svg.append(s("circle", { cx: px(x), cy: py(y), r: 4, class: "dot" }, s("title", {}, `${label(x)}: ${short(y)}`)));
  }
  return svg;
}
