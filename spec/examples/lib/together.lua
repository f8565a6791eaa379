-- What together.lua looks at and shows: the memory's course with what passes did to it, checks of
-- what the tenants left behind, the table, and the page.

local M = {}

local Course = {}
Course.__index = Course

---@param tracker_max integer
function M.course(tracker_max)
  return setmetatable({ max = tracker_max, samples = {}, victims = {}, passes = 0 }, Course)
end

function Course:sample(used)
  self.samples[#self.samples + 1] = used
end

function Course:event(event)
  if event.type == "victim" then
    self.victims[#self.victims + 1] = {
      at = #self.samples, name = event.name, bytes = event.freed or event.bytes or 0,
    }
  elseif event.type == "reclaim_stop" then
    self.passes = self.passes + 1
  end
end

-- ---- checks -------------------------------------------------------------------------------------

-- In no table is a reference whose count is missing.
local function is_ordered(scratch, entries)
  local counts <close> = assert(io.open(scratch .. ".counts", "rb"))
  local refs <close> = assert(io.open(scratch .. ".refs", "rb"))
  local found = 0
  for _ = 1, entries do
    local count, ref = counts:read(4096), refs:read(4096)
    if ref and ref:byte() == 114 then
      found = found + 1
      if not count or count:byte() ~= 99 then return false end
    end
  end
  return found > 0
end

--- What must hold of the index and of the tables, as { what, whether }. Removes the tables.
function M.checks(scratch, results, index)
  local reads, counted, list = 0, 0, {}
  for n, result in ipairs(results) do
    reads = reads + result.reads
    list[n] = { ("tenant %d's references have their counts"):format(n),
      is_ordered(scratch .. n, result.written) }
    os.remove(scratch .. n .. ".counts")
    os.remove(scratch .. n .. ".refs")
  end
  os.remove(scratch)
  for _, n in pairs(index) do
    counted = counted + n
  end
  list[#list + 1] = { "the index counts every read", counted == reads }
  return list
end

-- ---- the page -----------------------------------------------------------------------------------

local PAGE <const> = [==[
<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>lethe: one budget, many tenants</title>
<link rel="icon" href="data:,">
<style>
body { font: 14px/1.4 system-ui, sans-serif; margin: 1.5rem; } svg { width: 100%%; height: 240px; }
polyline { fill: none; stroke: #2a7; stroke-width: 1.5; vector-effect: non-scaling-stroke; }
line { vector-effect: non-scaling-stroke; } td, th { text-align: right; padding: 0 1rem 0 0; }
</style></head><body>
<h1>One budget, many tenants</h1>
<p>Memory used (green) against max (red) and low water (orange); a mark for each time that a pass
asked somebody: %s.</p>
<svg viewBox="0 0 %d 100" preserveAspectRatio="none">
<line x1="0" x2="%d" y1="%.1f" y2="%.1f" stroke="#c33"/>
<line x1="0" x2="%d" y1="%.1f" y2="%.1f" stroke="#d90"/>
%s
<polyline points="%s"/>
</svg>
%s
</body></html>
]==]

local COLOURS <const> = { "#36c", "#a3c", "#888", "#0aa", "#a60" }

local function draw(course, low_water, rows)
  local top, width = course.max * 1.1, math.max(1, #course.samples - 1)
  for _, used in ipairs(course.samples) do
    if used > top then top = used * 1.05 end
  end
  local function y(bytes) return 100 - 100 * bytes / top end
  local points, marks, colours, legend, n = {}, {}, {}, {}, 0
  for i, used in ipairs(course.samples) do
    points[i] = ("%d,%.1f"):format(i - 1, y(used))
  end
  for _, victim in ipairs(course.victims) do
    if not colours[victim.name] then
      n = n + 1
      colours[victim.name] = COLOURS[(n - 1) % #COLOURS + 1]
      legend[n] = ('<b style="color:%s">%s</b>'):format(colours[victim.name], victim.name)
    end
    marks[#marks + 1] = ('<line x1="%d" x2="%d" y1="92" y2="100" stroke="%s"><title>%s: %d bytes'
      .. "</title></line>"):format(victim.at, victim.at, colours[victim.name], victim.name,
      victim.bytes)
  end
  table.sort(legend, function(a, b) return a:match(">.*") < b:match(">.*") end)
  return PAGE:format(table.concat(legend, ", "), width, width, y(course.max), y(course.max), width,
    y(low_water), y(low_water), table.concat(marks, "\n"), table.concat(points, " "), rows)
end

-- ---- the report ---------------------------------------------------------------------------------

local function html_rows(results)
  local out = { "<table><tr><th>tenant</th><th>reads</th><th>hits</th><th>misses</th>"
    .. "<th>evicted</th></tr>" }
  for n, r in ipairs(results) do
    out[#out + 1] = ("<tr><td>%d</td><td>%d</td><td>%d</td><td>%d</td><td>%d</td></tr>"):format(n,
      r.reads, r.hits, r.misses, r.evictions)
  end
  return table.concat(out) .. "</table>"
end

--- Prints the table and the checks, writes the page; true if all is well.
function M.report(course, page, tracker, results, checks)
  local stats, good = tracker:stats(), true
  print(("%-10s %8s %8s %8s %8s"):format("tenant", "reads", "hits", "misses", "evicted"))
  for n, r in ipairs(results) do
    print(("%-10d %8d %8d %8d %8d"):format(n, r.reads, r.hits, r.misses, r.evictions))
  end
  print(("peak %d of %d bytes, %d passes asked %d times and freed %d bytes"):format(stats.peak,
    stats.max, stats.reclaims, stats.victims, stats.freed))
  for _, check in ipairs(checks) do
    print(("%-7s %s"):format(check[2] and "ok" or "FAILED", check[1]))
    good = good and check[2] == true
  end
  local file = assert(io.open(page, "wb"))
  file:write(draw(course, stats.low_water, html_rows(results)))
  file:close()
  print("the memory's course is in " .. page)
  return good
end

return M
