-- The timeline's page: its markup, its looks, and the script that draws the lanes.
--
-- Each lane is a row of an SVG drawing, a path for each state it was ever in, so that a hundred
-- thousand operations are a few hundred elements. The lane's group carries its name, and its paths
-- the state that they stand for: whoever reads the page back needs no more.

local M = {}

M.body = [[
<header>
<h1>$TITLE$</h1>
<ul id="legend" aria-label="legend"></ul>
<label>zoom <input id="zoom" type="range" min="0" max="100" value="50"></label>
</header>
<main>
<div id="names" aria-hidden="true"></div>
<div id="scroll" tabindex="0" role="img"
  aria-label="a lane for each name, an operation for each step">
<svg id="lanes"></svg>
</div>
</main>
<footer id="detail" aria-live="polite">Point at an operation.</footer>
<script type="application/json" id="data">$DATA$</script>
<script>
$SCRIPT$</script>
]]

M.head = [[
<style>
:root { color-scheme: light dark; --back: #fff; --text: #1b1f24; --line: #d0d7de; --boyd: #8250df;
  --reachable: #2da44e; --unreachable: #bf8700; --collected: #cf222e; --finalized: #57606a;
  --unknown: #afb8c1; --export: #0969da; }
@media (prefers-color-scheme: dark) {
  :root { --back: #0d1117; --text: #e6edf3; --line: #30363d; --boyd: #a371f7; --reachable: #3fb950;
    --unreachable: #d29922; --collected: #f85149; --finalized: #8b949e; --unknown: #484f58;
    --export: #58a6ff; }
}
* { box-sizing: border-box; }
body { margin: 0; height: 100vh; display: flex; flex-direction: column; background: var(--back);
  color: var(--text); font: 13px/1.4 system-ui, sans-serif; }
header { display: flex; flex-wrap: wrap; gap: 4px 20px; align-items: center; padding: 8px 12px;
  border-bottom: 1px solid var(--line); }
h1 { font-size: 16px; margin: 0; }
#legend { display: flex; flex-wrap: wrap; gap: 2px 14px; margin: 0; padding: 0; list-style: none; }
#legend svg { width: 16px; height: 12px; margin-right: 5px; vertical-align: -1px; }
main { flex: 1; display: flex; min-height: 0; overflow-y: auto; }
#names { flex: none; padding: 24px 8px 0 12px; text-align: right;
  font-family: ui-monospace, monospace; }
#names div { height: 20px; white-space: nowrap; }
#scroll { flex: 1; overflow-x: auto; overflow-y: hidden; }
#lanes { display: block; }
.REACHABLE { fill: var(--reachable); } .UNREACHABLE { fill: var(--unreachable); }
.COLLECTED { fill: var(--collected); } .FINALIZED { fill: var(--finalized); }
.UNKNOWN { fill: var(--unknown); } .EXPORT { fill: var(--export); }
.S { fill-opacity: .45; }
.mark { fill: var(--text); stroke: var(--back); stroke-width: .75; }
.boyd { stroke: var(--boyd); stroke-width: 1.5; stroke-dasharray: 3 2; fill: none; }
.rule { stroke: var(--line); fill: none; }
#here { fill: var(--text); fill-opacity: .12; }
.axis { fill: var(--text); font-size: 10px; }
footer { border-top: 1px solid var(--line); padding: 6px 12px; min-height: 5.2em; max-height: 30vh;
  overflow: auto; font-family: ui-monospace, monospace; white-space: pre-wrap;
  overflow-wrap: anywhere; }
</style>
]]

M.script = [[
"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const ROW = 20, TOP = 24, SVG = "http://www.w3.org/2000/svg";
const STATES = ["REACHABLE", "UNREACHABLE", "COLLECTED", "FINALIZED", "UNKNOWN", "EXPORT"];
const MARKS = { delivered: (x, y) => `M${x - 4} ${y - 9}h8l-4 6z`,
  collected: (x, y) =>
    `M${x - 4} ${y - 3}l3-3-3-3 1.4-1.4 3 3 3-3 1.4 1.4-3 3 3 3-1.4 1.4-3-3-3 3z`,
  finalized: (x, y) => `M${x} ${y - 10}l4 4-4 4-4-4z`,
  dropped: (x, y) => `M${x - 8} ${y + 3}h8l-4 6z`,
  retired: (x, y) => `M${x + 1} ${y + 3}h6v6h-6z` };
const svg = document.getElementById("lanes"), detail = document.getElementById("detail");
const count = data.ops.length;
let step = 0;

function add(parent, name, attributes, text) {
  const element = document.createElementNS(SVG, name);
  for (const key in attributes) element.setAttribute(key, attributes[key]);
  if (text !== undefined) element.textContent = text;
  parent.appendChild(element);
  return element;
}

function drawLane(lane, row) {
  const y = TOP + row * ROW, paths = new Map();
  const group = add(svg, "g", { "class": "lane", "data-name": lane.name });
  for (const [state, first, last] of lane.runs) {
    const width = (last - first + 1) * step;
    const d = `M${first * step} ${y + 4}h${width}v12h${-width}z`;
    paths.set(state, (paths.get(state) || "") + d);
  }
  for (const [state, d] of paths)
    add(group, "path", { "class": state.replace("/", " "), "data-state": state, d });
  for (const kind in lane.marks) {
    const at = lane.marks[kind];
    const d = at.map((i) => MARKS[kind]((i + .5) * step, y + 10)).join("");
    add(group, "path", { "class": "mark", "data-mark": kind, "data-at": at.join(" "), d });
  }
}

function drawAxis(height) {
  const every = Math.max(1, Math.ceil(60 / step));
  let rules = "";
  for (let i = 0; i < count; i += every) {
    rules += `M${i * step} ${TOP - 6}V${height}`;
    add(svg, "text", { "class": "axis", x: i * step + 2, y: 12 }, String(i));
  }
  add(svg, "path", { "class": "rule", d: rules });
  add(svg, "path", { "class": "boyd", "data-at": data.boyd.join(" "),
    d: data.boyd.map((i) => `M${(i + .5) * step} ${TOP - 8}V${height}`).join("") || "M0 0" });
}

function draw() {
  const zoom = document.getElementById("zoom").value / 50;
  const width = document.getElementById("scroll").clientWidth || 1000;
  step = Math.max(width / Math.max(count, 1), 12) ** zoom;
  step = Math.min(Math.max(step, .01), 64, 3e7 / Math.max(count, 1));
  const height = TOP + data.lanes.length * ROW + 4;
  svg.replaceChildren();
  svg.setAttribute("width", count * step);
  svg.setAttribute("height", height);
  svg.setAttribute("data-step", step);
  drawAxis(height);
  data.lanes.forEach(drawLane);
  add(svg, "rect", { id: "here", x: -step, y: 0, width: step, height });
}

function stateAt(lane, i) {
  const run = lane.runs.find(([, first, last]) => first <= i && i <= last);
  return run ? run[0] : "nothing known";
}

function show(event) {
  const box = svg.getBoundingClientRect();
  const i = Math.floor((event.clientX - box.left) / step);
  if (i < 0 || i >= count) return;
  const lane = data.lanes[Math.floor((event.clientY - box.top - TOP) / ROW)];
  document.getElementById("here").setAttribute("x", i * step);
  detail.textContent = `${i}: ${data.ops[i][0]}\nsaid: ${data.ops[i][1]}`
    + (lane ? `\n${lane.name}: ${stateAt(lane, i)}` : "");
}

function legend() {
  const list = document.getElementById("legend");
  const entry = (text, make) => {
    const item = list.appendChild(document.createElement("li"));
    make(add(item, "svg", { viewBox: "-8 -6 16 12" }));
    item.append(text);
  };
  for (const state of STATES)
    entry(state, (box) => add(box, "path", { "class": state, d: "M-8-6h16v12h-16z" }));
  entry("dropped, known by name",
    (box) => add(box, "path", { "class": "UNKNOWN S", d: "M-8-6h16v12h-16z" }));
  for (const kind in MARKS)
    entry(kind, (box) => add(box, "path", { "class": "mark",
      d: MARKS[kind](0, { delivered: 6, dropped: -6, retired: -6 }[kind] || 6) }));
  entry("bringOutYourDead", (box) => add(box, "path", { "class": "boyd", d: "M0-6v12" }));
}

const names = document.getElementById("names");
for (const lane of data.lanes)
  names.appendChild(document.createElement("div")).textContent = lane.name;
legend();
draw();
document.getElementById("zoom").addEventListener("input", draw);
window.addEventListener("resize", draw);
svg.addEventListener("pointermove", show);
document.body.setAttribute("data-drawn", String(data.lanes.length));
]]

return M
