--- The log of a vat script as a picture: a lane for each name, coloured by where the name stands,
-- and marks for what happened. One HTML page that loads nothing from anywhere.

local M = {}

-- In the order of the legend.
local STATES <const> = {
  { "REACHABLE", "#2a7", "userspace holds it" },
  { "UNREACHABLE", "#9c4", "nobody holds it, and it is still there" },
  { "COLLECTED", "#e90", "the collector took it; its callback waits" },
  { "FINALIZED", "#c33", "in the dead-set" },
  { "UNKNOWN", "#bbb", "the vat knows nothing of it; the kernel may" },
}

-- What is drawn across all lanes.
local MARKS <const> = {
  deliver = { "delivery", "#36c" }, notify = { "delivery", "#36c" },
  dropExports = { "delivery", "#36c" }, retireExports = { "delivery", "#36c" },
  retireImports = { "delivery", "#36c" }, collect = { "collection", "#e90" },
  gc = { "collection", "#e90" }, finalize = { "finalizers", "#c33" },
  bringOutYourDead = { "bringOutYourDead", "#000" },
}

local LEFT <const>, TOP <const>, LANE <const> = 90, 24, 18

local HEAD <const> = [==[
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>$TITLE$</title>
<link rel="icon" href="data:,">
<style>
body { font: 14px/1.4 system-ui, sans-serif; margin: 1.5rem; }
h1 { font-size: 1.2rem; } svg { display: block; } text { font-size: 11px; }
.lane:hover { opacity: .7; } .said { font-weight: bold; }
.legend span { display: inline-block; margin-right: 1.2rem; }
.legend i { display: inline-block; width: 1em; height: .8em; margin-right: .4em; }
.scroll { overflow-x: auto; } td, th { padding: 0 .8rem 0 0; text-align: left; }
td { vertical-align: top; font-family: monospace; font-size: 12px; }
</style>
</head>
<body>
<h1>$TITLE$</h1>
]==]

local ESCAPES <const> = { ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;", ['"'] = "&quot;" }

local function escape(text)
  return (tostring(text):gsub('[&<>"]', ESCAPES))
end

-- ---- lanes ------------------------------------------------------------------------------------

-- For each name its stretches: { state, flag, from, to }, in order; and the names, by number.
local function lanes_of(log)
  local lanes, names = {}, {}
  for i, record in ipairs(log) do
    for name, text in pairs(record.state.states) do
      local lane = lanes[name]
      if not lane then
        lane = {}
        lanes[name], names[#names + 1] = lane, name
      end
      local last = lane[#lane]
      if last and last.text == text and last.to == i - 1 then
        last.to = i
      else
        local state, flag = text:match("^(.-)/(.*)$")
        lane[#lane + 1] = { text = text, state = state, flag = flag, from = i, to = i }
      end
    end
  end
  table.sort(names, function(a, b)
    local m, n = tonumber(a:match("%d+")), tonumber(b:match("%d+"))
    if m ~= n then return m < n end
    return a < b
  end)
  return lanes, names
end

local COLOURS <const> = {}
for _, each in ipairs(STATES) do
  COLOURS[each[1]] = each[2]
end

-- ---- drawing ----------------------------------------------------------------------------------

local function add(out, form, ...)
  out[#out + 1] = form:format(...)
end

local function draw_lane(out, name, lane, y, step)
  add(out, '<text x="4" y="%d">%s</text>', y + 12, escape(name))
  for _, each in ipairs(lane) do
    add(out, '<rect class="lane" data-vref="%s" data-state="%s" data-from="%d" data-to="%d" '
      .. 'x="%.1f" y="%d" width="%.1f" height="%d" fill="%s"%s><title>%s %s, from %d to %d</title>'
      .. "</rect>", escape(name), each.state, each.from - 1, each.to - 1,
      LEFT + (each.from - 1) * step, y, (each.to - each.from + 1) * step, LANE - 4,
      COLOURS[each.state] or "#000", each.flag == "R" and "" or ' fill-opacity=".45"',
      escape(name), escape(each.text), each.from - 1, each.to - 1)
  end
end

local function draw_marks(out, log, height, step)
  for i, record in ipairs(log) do
    local mark = MARKS[record.op.op]
    if mark then
      local x = LEFT + (i - 0.5) * step
      add(out, '<line data-mark="%s" x1="%.1f" x2="%.1f" y1="%d" y2="%d" stroke="%s" '
        .. 'stroke-opacity=".5"%s><title>%d %s</title></line>', mark[1], x, x, TOP - 10, height,
        mark[2], #record.sys > 0 and ' stroke-width="2"' or "", i - 1, escape(record.op.op))
    end
  end
end

local function draw_legend(out)
  add(out, '<p class="legend">')
  for _, each in ipairs(STATES) do
    add(out, '<span title="%s"><i style="background:%s"></i>%s</span>', escape(each[3]), each[2],
      each[1])
  end
  local shown = {}
  for _, name in ipairs{ "deliver", "collect", "finalize", "bringOutYourDead" } do
    local mark = MARKS[name]
    shown[#shown + 1] = ('<span><i style="width:2px;background:%s"></i>%s</span>'):format(mark[2],
      mark[1])
  end
  add(out, "%s pale: the kernel's c-list knows the name and cannot reach the object</p>",
    table.concat(shown))
end

-- What was said to the kernel, operation by operation.
local function draw_said(out, log)
  local json = require "lethe.json"
  add(out, "<table><tr><th>operation</th><th></th><th>syscalls</th></tr>")
  for i, record in ipairs(log) do
    if #record.sys > 0 then
      add(out, "<tr><td>%d</td><td>%s</td><td>%s</td></tr>", i - 1, escape(record.op.op),
        escape(json.encode(record.sys)))
    end
  end
  add(out, "</table>")
end

--- The page.
---@param title string
---@param log table[] of vat.run_script
---@return string
function M.html(title, log)
  local lanes, names = lanes_of(log)
  local step <const> = math.max(0.2, math.min(24, 1800 / math.max(1, #log)))
  local height <const> = TOP + #names * LANE + 6
  local escaped <const> = escape(title)
  local out = { (HEAD:gsub("%$TITLE%$", function() return escaped end)) }
  draw_legend(out)
  add(out, '<div class="scroll"><svg width="%.0f" height="%d" viewBox="0 0 %.0f %d">',
    LEFT + (#log * step) // 1 + 10, height, LEFT + (#log * step) // 1 + 10, height)
  for i, name in ipairs(names) do
    draw_lane(out, name, lanes[name], TOP + (i - 1) * LANE, step)
  end
  draw_marks(out, log, height, step)
  add(out, "</svg></div>")
  draw_said(out, log)
  out[#out + 1] = "</body>\n</html>\n"
  return table.concat(out, "\n")
end

return M
