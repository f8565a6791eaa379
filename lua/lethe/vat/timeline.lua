-- The timeline of a vat script's log: one self-contained page, a lane for each name.
--
-- A lane shows where its name stood after each operation, in the colours of the five states; marks
-- say when it was delivered, collected, finalized, dropped and retired; lines across all lanes are
-- the times when the dead were brought out. The page is made of the log alone: its script draws
-- what this module has counted.

local base = require "lethe.core.base"
local html = require "lethe.html"
local json = require "lethe.json"
local page = require "lethe.vat.timeline_page"

local M = {}

-- ---- lanes ------------------------------------------------------------------------------------

-- Runs { state, first, last } of a lane, from one state after each operation.
local function extend(lane, i, state)
  local runs = lane.runs
  local last = runs[#runs]
  if last and last[1] == state and last[3] == i - 1 then
    last[3] = i
  else
    runs[#runs + 1] = json.array{ state, i, i }
  end
end

local function new_lane(name)
  return { name = name, runs = json.array{}, marks = {} }
end

local function lane_of(lanes, name)
  local lane = lanes[name]
  if not lane then
    lane = new_lane(name)
    lanes[name] = lane
    lanes[#lanes + 1] = lane
  end
  return lane
end

local function add_states(lanes, i, state)
  for name, text in next, state.states do
    extend(lane_of(lanes, name), i, text)
  end
  for _, text in ipairs(state.exports) do
    local name, flag = text:match("^(.*)/(.)$")
    extend(lane_of(lanes, name), i, "EXPORT/" .. flag)
  end
end

-- ---- marks ------------------------------------------------------------------------------------

local function mark(lanes, i, name, kind)
  if type(name) ~= "string" or not name:find("^[ow]") then return end
  local marks = lane_of(lanes, name).marks
  marks[kind] = marks[kind] or json.array{}
  local list = marks[kind]
  if list[#list] ~= i then list[#list + 1] = i end
end

local function mark_all(lanes, i, names, kind)
  for _, name in ipairs(names or {}) do
    mark(lanes, i, name, kind)
  end
end

local SAID <const> = {
  dropImports = "dropped", retireImports = "retired", retireExports = "retired",
}

local function add_marks(lanes, i, record)
  local op, engine = record.op, record.engine or {}
  if op.op == "deliver" then mark_all(lanes, i, op.args, "delivered") end
  for _, one in ipairs(op.op == "notify" and op.resolutions or {}) do
    mark_all(lanes, i, one.slots, "delivered")
  end
  mark_all(lanes, i, engine.collected, "collected")
  mark_all(lanes, i, engine.ran, "finalized")
  for _, call in ipairs(record.sys) do
    if SAID[call[1]] then mark_all(lanes, i, call[2], SAID[call[1]]) end
  end
end

-- Imports by number, then what the vat made, then its weak collections.
local function before(a, b)
  local x, y = a.name, b.name
  local kind_x, kind_y = x:match("^%a%p?"), y:match("^%a%p?")
  if kind_x ~= kind_y then
    local rank = { ["o-"] = 1, ["o+"] = 2, w = 3 }
    return (rank[kind_x] or 4) < (rank[kind_y] or 4)
  end
  local m, n = tonumber(x:match("%d+")), tonumber(y:match("%d+"))
  if m ~= n then return m < n end
  return base.less(x, y)
end

--- What the page shows, as a table: operations, lanes, and when the dead were brought out.
---@param title string
---@param log table[] of vat.run_script
---@return table
function M.data(title, log)
  local lanes, boyd, ops = {}, json.array{}, json.array{}
  for _, record in ipairs(log) do
    local i = record.i
    ops[#ops + 1] = json.array{ json.encode(record.op, { "op" }), json.encode(record.sys) }
    if record.op.op == "bringOutYourDead" then boyd[#boyd + 1] = i end
    add_states(lanes, i, record.state)
    add_marks(lanes, i, record)
  end
  local list = json.array(table.move(lanes, 1, #lanes, 1, {}))
  table.sort(list, before)
  return { title = title, ops = ops, lanes = list, boyd = boyd }
end

-- ---- the page ---------------------------------------------------------------------------------

--- The page as text.
---@param title string
---@param log table[]
---@return string
function M.html(title, log)
  local data = json.encode(M.data(title, log)):gsub("<", "\\u003c")
  local body = page.body:gsub("%$(%u+)%$",
    { TITLE = html.escape(title), DATA = data, SCRIPT = page.script })
  return html.page(title, page.head, body)
end

--- Writes the page; nil, message when it cannot.
---@param path string
---@param title string
---@param log table[]
---@return true?
---@return string? message
function M.write(path, title, log)
  local file <close>, message = io.open(path, "w")
  if not file then return nil, message end
  local ok, why = file:write(M.html(title, log))
  if not ok then return nil, why end
  ok, why = file:flush()
  if not ok then return nil, why end
  return true
end

return M
