-- Results as one page of HTML, with figures and tables as a paper has them. It loads nothing and
-- runs nothing.

local chart = require "lethe.sim.chart"
local html = require "lethe.html"
local text = require "lethe.sim.text"

local M = {}

local HEAD <const> = [==[
<style>
:root { color-scheme: light dark; --ink: #1a1a1a; --dim: #666; --line: #ccc; --paper: #fff;
  --bad: #b00020; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e6e6; --dim: #999; --line: #444; --paper: #161616; --bad: #ff7b88; }
}
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
  max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin: 0 0 .2rem; } h2 { font-size: 1.1rem; margin: 2rem 0 .5rem; }
.about { color: var(--dim); margin: 0 0 1.5rem; }
figure { margin: 1.5rem 0; }
figcaption, caption { text-align: left; font-size: .92rem; padding: .3rem 0; }
figcaption b, caption b { font-weight: 600; }
svg { width: 100%; height: auto; display: block; overflow: visible; }
svg text { font: 12px system-ui, sans-serif; fill: var(--ink); }
svg .tick { fill: var(--dim); font-size: 11.5px; } svg .title { font-size: 13px; }
.grid { stroke: var(--line); stroke-width: .6; }
.axis { stroke: var(--ink); stroke-width: 1; fill: none; }
.series polyline, .key line { fill: none; stroke: var(--c); stroke-width: 1.7; }
.series circle, .series rect, .series path, .key circle, .key rect, .key path { fill: var(--c); }
.series .open, .key .open { fill: none; stroke: var(--c); stroke-width: 1.7; }
.series:hover polyline { stroke-width: 3.2; }
svg:has(.series:hover) .series:not(:hover) { opacity: .2; }
.wide { overflow-x: auto; margin: 1.2rem 0; }
table { border-collapse: collapse; width: 100%; font-size: .88rem;
  font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: .18rem .55rem; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
thead th { border-top: 1.5px solid var(--ink); border-bottom: 1px solid var(--ink); }
tbody tr:last-child td { border-bottom: 1.5px solid var(--ink); }
tbody tr:hover { background: color-mix(in srgb, var(--line) 35%, transparent); }
.best { font-weight: 700; } .failed { color: var(--bad); }
#failures td:last-child, #failures th:last-child { text-align: left; white-space: normal; }
summary { cursor: pointer; margin: 1.5rem 0 .5rem; }
@media print { body { max-width: none; margin: 0; } details > * { display: block; } }
</style>
]==]

-- ---- what there is ------------------------------------------------------------------------------

-- Whether sizes are entries; results that were put together by hand are taken for bytes.
local function is_unit(results)
  return results.unit == true
end

-- Rows by policy, in order; and each different size once, the small ones first.
local function arrange(results)
  local policies, sizes, by_key, by_capacity = {}, {}, {}, {}
  for _, row in ipairs(results) do
    local key <const> = row.index or row.policy
    local policy = by_key[key]
    if not policy then
      policy = { name = row.policy, rows = {}, points = {} }
      by_key[key] = policy
      policies[#policies + 1] = policy
    end
    policy.rows[row.capacity] = row
    local label <const> = text.size(row.size, row.capacity, is_unit(results))
    if not by_capacity[row.capacity] then
      by_capacity[row.capacity] = true
      sizes[#sizes + 1] = { capacity = row.capacity, label = label }
    end
    if not row.failed then
      policy.points[#policy.points + 1] = { capacity = row.capacity, label = label,
        miss_ratio = row.miss_ratio, byte_miss_ratio = row.byte_miss_ratio }
    end
  end
  local function smaller(a, b) return a.capacity < b.capacity end
  table.sort(sizes, smaller)
  for _, policy in ipairs(policies) do
    table.sort(policy.points, smaller)
  end
  return policies, sizes
end

-- ---- tables -------------------------------------------------------------------------------------

local function table_of(id, caption, heads, rows)
  local head, body = {}, {}
  for i, name in ipairs(heads) do
    head[i] = ("<th>%s</th>"):format(html.escape(name))
  end
  for i, row in ipairs(rows) do
    body[i] = "<tr>" .. table.concat(row) .. "</tr>"
  end
  return ('<div class="wide"><table id="%s"><caption>%s</caption>\n<thead><tr>%s</tr></thead>\n'
    .. "<tbody>\n%s\n</tbody></table></div>\n"):format(id, caption, table.concat(head),
    table.concat(body, "\n"))
end

local function cell(value, class)
  return ("<td%s>%s</td>"):format(class and (' class="%s"'):format(class) or "",
    html.escape(value))
end

-- The least of each column stands out; belady, which knows the future, does not compete.
local function best_of(policies, sizes, field)
  local best = {}
  for _, size in ipairs(sizes) do
    for _, policy in ipairs(policies) do
      local row <const> = policy.rows[size.capacity]
      if row and not row.failed and policy.name ~= "belady" then
        best[size.capacity] = math.min(best[size.capacity] or math.huge, row[field])
      end
    end
  end
  return best
end

local function ratios(id, caption, policies, sizes, field)
  local heads, rows = { "policy" }, {}
  local best <const> = best_of(policies, sizes, field)
  for i, size in ipairs(sizes) do
    heads[i + 1] = size.label
  end
  for i, policy in ipairs(policies) do
    local cells = { cell(policy.name) }
    for _, size in ipairs(sizes) do
      local row <const> = policy.rows[size.capacity]
      if not row then
        cells[#cells + 1] = cell("")
      elseif row.failed then
        cells[#cells + 1] = cell("failed", "failed")
      else
        local is_best <const> = row[field] == best[size.capacity] and policy.name ~= "belady"
        cells[#cells + 1] = cell(("%.4f"):format(row[field]), is_best and "best" or nil)
      end
    end
    rows[i] = cells
  end
  return table_of(id, caption, heads, rows)
end

local function failures(results)
  local rows = {}
  for _, row in ipairs(results) do
    if row.failed then
      rows[#rows + 1] = { cell(row.policy),
        cell(text.size(row.size, row.capacity, is_unit(results))), cell(row.failed, "failed") }
    end
  end
  if not rows[1] then return "" end
  return "<h2>Failures</h2>\n" .. table_of("failures", "What went wrong, and where.",
    { "policy", "size", "message" }, rows)
end

local function everything(results)
  local rows = {}
  for i, row in ipairs(results) do
    rows[i] = { cell(row.policy), cell(text.size(row.size, row.capacity, is_unit(results))),
      cell(text.count(row.capacity)), cell(text.count(row.requests)),
      cell(row.misses and text.count(row.misses) or ""),
      cell(row.miss_ratio and ("%.6f"):format(row.miss_ratio) or ""),
      cell(row.byte_miss_ratio and ("%.6f"):format(row.byte_miss_ratio) or ""),
      cell(("%.3f"):format(row.seconds or 0)), cell(("%.2f"):format(row.mreq_s or 0)),
      row.failed and cell(row.failed, "failed") or cell("") }
  end
  return "<details><summary>All results</summary>\n" .. table_of("results", "Every run.",
    { "policy", "size", "capacity", "requests", "misses", "miss ratio", "byte miss ratio",
      "seconds", "Mreq/s", "failed" }, rows) .. "</details>\n"
end

-- ---- the page -----------------------------------------------------------------------------------

local function about(results)
  local requests, failed = results.requests, 0
  for _, row in ipairs(results) do
    requests = requests or (not row.failed and row.requests) or nil
    if row.failed then failed = failed + 1 end
  end
  local parts = { requests and text.count(requests) .. " requests" }
  if results.objects then
    parts[#parts + 1] = ("%s objects"):format(text.count(results.objects))
    parts[#parts + 1] = ("footprint %s"):format(text.bytes(results.bytes))
  end
  parts[#parts + 1] = ("%d runs"):format(#results)
  if failed > 0 then parts[#parts + 1] = ("%d failed"):format(failed) end
  return ('<p class="about">%s</p>\n'):format(html.escape(table.concat(parts, " · ")))
end

local function across(results)
  for _, row in ipairs(results) do
    if math.type(row.size) ~= "float" then
      return is_unit(results) and "cache size, entries" or "cache size, bytes"
    end
  end
  return is_unit(results) and "cache size, share of the objects"
    or "cache size, share of the footprint"
end

local FIGURES <const> = {
  { id = "objects", field = "miss_ratio", upward = "miss ratio", n = 1,
    what = "Miss ratio: the part of all requests that find nothing." },
  { id = "bytes", field = "byte_miss_ratio", upward = "byte miss ratio", n = 2,
    what = "Byte miss ratio: the part of all requested bytes that is not found." },
}

--- The page.
---@param results lethe.sim.Result[]
---@param title string?
---@return string
function M.html(results, title)
  local policies, sizes = arrange(results)
  title = title or "Cache simulation"
  local parts = { ("<h1>%s</h1>\n"):format(html.escape(title)), about(results) }
  for _, figure in ipairs(FIGURES) do
    parts[#parts + 1] = ("<figure>\n%s<figcaption><b>Figure %d.</b> %s</figcaption></figure>\n")
      :format(chart.svg{ id = "curves-" .. figure.id, field = figure.field,
        across = across(results), upward = figure.upward, curves = policies, places = sizes },
        figure.n, figure.what)
  end
  for _, figure in ipairs(FIGURES) do
    parts[#parts + 1] = ratios("table-" .. figure.id, ("<b>Table %d.</b> %s"):format(figure.n,
      "The same, as numbers: " .. figure.upward .. " by cache size; the least in bold."),
      policies, sizes, figure.field)
  end
  parts[#parts + 1] = failures(results)
  parts[#parts + 1] = everything(results)
  return html.page(title, HEAD, table.concat(parts))
end

return M
