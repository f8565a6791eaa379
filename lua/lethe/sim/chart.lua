-- Curves as SVG: ratios over cache sizes, one curve for each policy, told apart by colour, dash and
-- marker.

local html = require "lethe.html"

local M = {}

local WIDTH <const>, HEIGHT <const> = 760, 430
local LEFT <const>, RIGHT <const>, TOP <const>, BOTTOM <const> = 62, 580, 14, 372
-- Colours that people who see few of them can tell apart, then the same dashed, then dotted.
local COLOURS <const> = { "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#b58900",
  "#6a3d9a", "#444" }
local DASHES <const> = { "", "6 3", "2 2" }
local MARKERS <const> = { "circle", "square", "triangle", "diamond", "cross" }

-- belady is no competitor, but what the others are measured against.
local function style(i, name)
  if name == "belady" then return "var(--ink)", "1 3", "cross" end
  return COLOURS[(i - 1) % #COLOURS + 1], DASHES[(i - 1) // #COLOURS % #DASHES + 1],
    MARKERS[(i - 1) % #MARKERS + 1]
end

-- ---- scales -------------------------------------------------------------------------------------

-- From capacities to places, logarithmic where they span much.
local function horizontal(lowest, highest)
  local log <const> = lowest > 0 and highest / lowest >= 8
  local function on(x) return log and math.log(x) or x end
  local from <const>, to <const> = on(lowest), on(highest)
  local pad <const> = 16
  return function(x)
    if to == from then return (LEFT + RIGHT) / 2 end
    return LEFT + pad + (on(x) - from) / (to - from) * (RIGHT - LEFT - 2 * pad)
  end, log
end

-- Round numbers from below the least to above the most, about five of them.
local function vertical(least, most)
  local span <const> = math.max(most - least, 0.002)
  local power <const> = 10 ^ math.floor(math.log(span / 4, 10))
  local step = power
  for _, factor in ipairs{ 2, 5, 10 } do
    if span / step > 6 then step = power * factor end
  end
  local from <const> = math.max(0, math.floor(least / step + 1e-9) * step)
  local to <const> = math.min(1, math.ceil(most / step - 1e-9) * step)
  local ticks = {}
  for i = math.floor(from / step + 0.5), math.floor(to / step + 0.5) do
    ticks[#ticks + 1] = i * step
  end
  local top = to > from and to or from + step
  return function(y) return BOTTOM - (y - from) / (top - from) * (BOTTOM - TOP) end, ticks, step
end

-- ---- marks --------------------------------------------------------------------------------------

local SHAPES <const> = {
  circle = '<circle cx="%s" cy="%s" r="3.2">',
  square = '<rect x="%s" y="%s" width="6" height="6" transform="translate(-3 -3)">',
  triangle = '<path d="M0-4 3.7 2.8h-7.4z" transform="translate(%s %s)">',
  diamond = '<path d="M0-4.4 4.4 0 0 4.4-4.4 0z" transform="translate(%s %s)">',
  cross = '<path d="M-3.2-3.2 3.2 3.2M3.2-3.2-3.2 3.2" class="open" transform="translate(%s %s)">',
}

local function marker(kind, x, y, title)
  local shape <const> = SHAPES[kind]:format(x, y)
  return ("%s<title>%s</title></%s>"):format(shape, html.escape(title), shape:match("^<(%a+)"))
end

local function number(x)
  return ("%.1f"):format(x)
end

-- A group that a machine can read as well: the ratios stand beside the capacities.
local function series(curve, i, field, x, y)
  local colour <const>, dash <const>, kind <const> = style(i, curve.name)
  local points, marks, capacities, ratios = {}, {}, {}, {}
  for k, point in ipairs(curve.points) do
    local px <const>, py <const> = number(x(point.capacity)), number(y(point[field]))
    points[k] = px .. "," .. py
    capacities[k], ratios[k] = ("%d"):format(point.capacity), ("%.6f"):format(point[field])
    marks[k] = marker(kind, px, py, ("%s at %s: %.4f"):format(curve.name, point.label,
      point[field]))
  end
  return ([[
<g class="series" style="--c:%s" data-policy="%s" data-capacities="%s" data-ratios="%s">
<polyline points="%s"%s/>%s</g>
]]):format(colour, html.escape(curve.name), table.concat(capacities, " "),
    table.concat(ratios, " "), table.concat(points, " "),
    dash ~= "" and (' stroke-dasharray="%s"'):format(dash) or "", table.concat(marks))
end

local function legend(curves, numbers)
  local lines = {}
  local step <const> = math.min(20, (BOTTOM - TOP) / math.max(#curves, 1))
  for row, curve in ipairs(curves) do
    local colour <const>, dash <const>, kind <const> = style(numbers[curve], curve.name)
    local y <const> = number(TOP + 8 + (row - 1) * step)
    lines[row] = ([[<g class="key" style="--c:%s"><line x1="%d" x2="%d" y1="%s" y2="%s"%s/>%s<text
x="%d" y="%s" dy=".35em">%s</text></g>
]]):format(colour, RIGHT + 14, RIGHT + 46, y, y,
      dash ~= "" and (' stroke-dasharray="%s"'):format(dash) or "",
      marker(kind, RIGHT + 30, y, curve.name), RIGHT + 54, y, html.escape(curve.name))
  end
  return table.concat(lines)
end

-- ---- axes ---------------------------------------------------------------------------------------

local function axes(chart, x, y, ticks, step)
  local parts = {}
  local digits <const> = math.max(2, math.ceil(-math.log(step, 10) - 1e-9))
  for _, tick in ipairs(ticks) do
    local at <const> = number(y(tick))
    parts[#parts + 1] = ('<line class="grid" x1="%d" x2="%d" y1="%s" y2="%s"/>'
      .. '<text class="tick" x="%d" y="%s" dy=".35em" text-anchor="end">%.' .. digits
      .. 'f</text>\n'):format(LEFT, RIGHT, at, at, LEFT - 8, at, tick)
  end
  local last = -math.huge
  for _, place in ipairs(chart.places) do
    local at <const> = x(place.capacity)
    parts[#parts + 1] = ('<line class="axis" x1="%s" x2="%s" y1="%d" y2="%d"/>'):format(number(at),
      number(at), BOTTOM, BOTTOM + 5)
    if at - last >= 7 * math.max(#place.label, 4) then
      parts[#parts + 1] = ('<text class="tick" x="%s" y="%d" text-anchor="middle">%s</text>\n')
        :format(number(at), BOTTOM + 19, html.escape(place.label))
      last = at
    end
  end
  parts[#parts + 1] = ([[
<path class="axis" d="M%d %dV%dH%d"/>
<text class="title" x="%d" y="%d" text-anchor="middle">%s</text>
<text class="title" transform="translate(16 %d) rotate(-90)" text-anchor="middle">%s</text>
]]):format(LEFT, TOP, BOTTOM, RIGHT, (LEFT + RIGHT) // 2, HEIGHT - 14, html.escape(chart.across),
    (TOP + BOTTOM) // 2, html.escape(chart.upward))
  return table.concat(parts)
end

---@class lethe.sim.Curve
---@field name string
---@field points { capacity: integer, label: string, miss_ratio: number, byte_miss_ratio: number }[]

---@class lethe.sim.Chart
---@field id string
---@field field "miss_ratio"|"byte_miss_ratio"
---@field across string what the axes say
---@field upward string
---@field curves lethe.sim.Curve[]
---@field places { capacity: integer, label: string }[] where the horizontal axis has marks

-- The legend has the curves in the order in which they end.
local function by_end(curves, field)
  local list = table.move(curves, 1, #curves, 1, {})
  local order = {}
  for i, curve in ipairs(curves) do
    order[curve] = i
  end
  table.sort(list, function(a, b)
    local p <const>, q <const> = a.points[#a.points][field], b.points[#b.points][field]
    if p ~= q then return p > q end
    return order[a] < order[b]
  end)
  return list
end

--- The chart as one <svg> element.
---@param chart lethe.sim.Chart
---@return string
function M.svg(chart)
  local least, most, lowest, highest = math.huge, -math.huge, math.huge, -math.huge
  local numbers, shown = {}, {}
  for i, curve in ipairs(chart.curves) do
    numbers[curve] = i
    if curve.points[1] then shown[#shown + 1] = curve end
    for _, point in ipairs(curve.points) do
      least, most = math.min(least, point[chart.field]), math.max(most, point[chart.field])
      lowest, highest = math.min(lowest, point.capacity), math.max(highest, point.capacity)
    end
  end
  if not shown[1] then return "<p>No policy came to its end.</p>\n" end
  local x <const>, log = horizontal(lowest, highest)
  local y <const>, ticks, step = vertical(least, most)
  if log then chart.across = chart.across .. ", log scale" end
  local parts = {
    ('<svg id="%s" viewBox="0 0 %d %d" role="img" xmlns="http://www.w3.org/2000/svg">\n')
      :format(chart.id, WIDTH, HEIGHT),
    ("<title>%s</title>\n"):format(html.escape(chart.upward)),
    axes(chart, x, y, ticks, step),
  }
  for i, curve in ipairs(chart.curves) do
    if curve.points[1] then
      parts[#parts + 1] = series(curve, i, chart.field, x, y)
    end
  end
  parts[#parts + 1] = legend(by_end(shown, chart.field), numbers)
  parts[#parts + 1] = "</svg>\n"
  return table.concat(parts)
end

return M
