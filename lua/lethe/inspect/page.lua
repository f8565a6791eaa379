-- The page of a live view: one HTML text that asks /stats.json once a second while it is looked at,
-- and draws what is there. It loads nothing from anywhere.

local html = require "lethe.html"

local M = {}

local HEAD <const> = [==[
<link rel="icon" href="data:,">
<style>
:root { color-scheme: light dark; --line: #8884; --dim: #888; }
:root { --used: #2a7; --max: #c33; --low: #d90; }
body { font: 14px/1.45 system-ui, sans-serif; margin: 1.5rem auto; padding: 0 1rem; }
body { max-width: 62rem; }
h1 { font-size: 1.3rem; } h1 small { color: var(--dim); font-weight: normal; }
h2 { font-size: 1rem; margin: 1.6rem 0 .4rem; border-bottom: 1px solid var(--line); }
h2 small { color: var(--dim); font-weight: normal; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: right; padding: .15rem .6rem; border-bottom: 1px solid var(--line); }
th:first-child, td:first-child { text-align: left; } th { color: var(--dim); font-weight: normal; }
svg { width: 100%; height: 150px; display: block; background: #8881; }
.used { fill: none; stroke: var(--used); stroke-width: 2; vector-effect: non-scaling-stroke; }
.max, .low { stroke-width: 1; stroke-dasharray: 4 3; vector-effect: non-scaling-stroke; }
.max { stroke: var(--max); } .low { stroke: var(--low); }
.bar { display: inline-block; height: .7em; background: var(--used); }
.legend { color: var(--dim); } .legend b { color: inherit; }
.critical, .high { color: var(--max); } .soft { color: var(--low); }
#state { color: var(--dim); }
</style>
]==]

local BODY <const> = [==[
<h1>$TITLE$ <small id="state">asking</small></h1>
<div id="view"></div>
<script>
"use strict";
const history = new Map(), KEEP = 180, view = document.getElementById("view");
const element = (tag, text, attributes) => {
  const e = document.createElement(tag);
  if (text !== undefined && text !== null) e.textContent = text;
  for (const [k, v] of Object.entries(attributes || {})) e.setAttribute(k, v);
  return e;
};
const UNITS = ["B", "KiB", "MiB", "GiB", "TiB"];
const bytes = n => {
  if (typeof n !== "number") return "\u2013";
  let i = 0;
  while (Math.abs(n) >= 1024 && i < 4) { n /= 1024; i++; }
  return (i ? n.toFixed(1) : n) + " " + UNITS[i];
};
const percent = x => Number.isFinite(x) ? (100 * x).toFixed(1) + " %" : "\u2013";
const shown = v => typeof v === "number" && !Number.isInteger(v) ? v.toFixed(3) : v;
function table(heads, rows, id) {
  const t = element("table", null, id ? { id } : {}), head = t.appendChild(element("tr"));
  for (const h of heads) head.append(element("th", h));
  for (const row of rows) {
    const tr = t.appendChild(element("tr"));
    for (const cell of row) {
      const td = tr.appendChild(element("td"));
      if (cell instanceof Node) td.append(cell); else td.textContent = cell;
    }
  }
  return t;
}
function heading(object, note) {
  const h = element("h2", object.name + " ");
  h.append(element("small", note));
  return h;
}
const svg = (tag, attributes) => {
  const e = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [k, v] of Object.entries(attributes)) e.setAttribute(k, v);
  return e;
};
function timeline(object) {
  const s = object.stats, past = history.get(object.name) || [];
  past.push(s.used);
  if (past.length > KEEP) past.shift();
  history.set(object.name, past);
  const top = Math.max(s.max, s.peak, 1) * 1.05, y = v => (100 - 100 * v / top).toFixed(2);
  const chart = svg("svg", { viewBox: `0 0 ${KEEP - 1} 100`, preserveAspectRatio: "none" });
  for (const [name, v] of [["max", s.max], ["low", s.low_water]])
    chart.append(svg("line", { class: name, x1: 0, x2: KEEP - 1, y1: y(v), y2: y(v) }));
  const at = KEEP - past.length;
  chart.append(svg("polyline", { class: "used",
    points: past.map((v, i) => `${at + i},${y(v)}`).join(" ") }));
  return chart;
}
function bar(share) {
  const e = element("span", null, { class: "bar" });
  e.style.width = Math.round(120 * Math.min(1, share || 0)) + "px";
  return e;
}
const KINDS = {
  "quota.Tracker"(object, out) {
    const s = object.stats;
    out.append(heading(object, "memory quota"), timeline(object));
    const legend = element("p", null, { class: "legend" });
    legend.append(`used ${bytes(s.used)}, max ${bytes(s.max)}, low water `);
    legend.append(`${bytes(s.low_water)}, peak ${bytes(s.peak)}, condemned `);
    legend.append(`${bytes(s.condemned)}, ${s.reclaims} passes freed ${bytes(s.freed)}, pressure `);
    legend.append(element("b", s.level, { class: s.level }));
    out.append(legend);
    if (s.top && s.top.length) out.append(table(["account", "used", "share", "reclaimed"],
      s.top.map(a => [a.name || "#" + a.account, bytes(a.used), bar(a.share), a.reclaims])));
  },
  "epoch.Manager"(object, out) {
    const s = object.stats;
    out.append(heading(object, `epoch ${s.epoch}, safe ${s.safe_epoch}, ${s.limbo} in limbo, ${
      s.orphans} of them orphans, ${s.ejections} ejections`));
    out.append(table(["thread", "pinned", "epoch", "limbo", "bytes", "most"],
      (s.threads || []).map((t, i) => [i + 1,
        t.neutralized ? "neutralized" : t.pinned ? "yes" : "no", t.epoch, t.limbo,
        bytes(t.limbo_bytes), t.peak])));
  },
  "cache.Cache"(object, out) {
    const s = object.stats;
    out.append(heading(object, `cache, hit ratio ${percent(s.hits / (s.hits + s.misses))}`));
    out.append(table(
      ["entries", "bytes", "hits", "misses", "dirty", "in use", "evicted", "written"],
      [[s.entries, bytes(s.bytes), s.hits, s.misses, s.dirty, s.in_use, s.evictions, s.flushes]]));
  },
  "vat.Kernel"(object, out) {
    const s = object.stats;
    const note = `${s.cranks} cranks, ${s.queue} messages wait, ${s.objects} objects`;
    out.append(heading(object, note));
    out.append(table(["vat", "live imports"],
      Array.from(s.by_vat || []).map(v => [v.name, v.imports])));
  },
};
function plain(object, out) {
  const fields = Object.entries(object.stats).filter(([, v]) => typeof v !== "object");
  if (!fields.length) return;
  out.append(heading(object, object.type));
  out.append(table(fields.map(([k]) => k), [fields.map(([, v]) => shown(v))]));
}
async function refresh() {
  const state = document.getElementById("state");
  try {
    const answer = await fetch("stats.json", { cache: "no-store" });
    const figures = await answer.json(), out = document.createDocumentFragment();
    for (const object of figures.objects) (KINDS[object.type] || plain)(object, out);
    if (!figures.objects.length) out.append(element("p", "Nothing is watched."));
    view.replaceChildren(out);
    state.textContent = "at " + figures.time.toFixed(1) + " s";
  } catch (e) {
    state.textContent = "no answer";
  }
}
refresh();
setInterval(() => { if (!document.hidden) refresh(); }, 1000);
</script>
]==]

--- The page, under this title.
---@param title string
---@return string
function M.html(title)
  local body = BODY:gsub("%$(%u+)%$", { TITLE = html.escape(title) })
  return html.page(title, HEAD, body)
end

return M
