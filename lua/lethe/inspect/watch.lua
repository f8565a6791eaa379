-- Which objects a live view shows, under which names, and their figures.
--
-- An object keeps the name it was first shown under. One that has no name of its own is called by
-- its class and a number: "tracker 1".

local base = require "lethe.core.base"
local core = require "lethe.core.inspect"

local M = {}

local TOP <const> = 10 -- accounts of a tracker

--- What one server shows: objects that it was told of, and the names of all.
function M.new()
  return { told = setmetatable({}, { __mode = "k" }), names = setmetatable({}, { __mode = "k" }),
    counts = {}, order = 0 }
end

---@return boolean
function M.has_stats(object)
  if type(object) ~= "table" and type(object) ~= "userdata" then return false end
  local ok, stats = pcall(function() return object.stats end)
  return ok and type(stats) == "function"
end

--- One object more, under a name if it is given one.
---@param object table|userdata
---@param name string?
function M.add(watched, object, name)
  watched.order = watched.order + 1
  watched.told[object] = watched.told[object] or watched.order
  if name then watched.names[object] = name end
end

-- ---- names ------------------------------------------------------------------------------------

local function own_name(object)
  local ok, name = pcall(function() return object:name() end)
  return ok and type(name) == "string" and name ~= "" and name or nil
end

local function name_of(watched, object, kind)
  local name = watched.names[object]
  if not name then
    name = own_name(object)
    if not name then
      local word <const> = kind:match("%.(%a+)$") or kind
      watched.counts[word] = (watched.counts[word] or 0) + 1
      name = ("%s %d"):format(word:lower(), watched.counts[word])
    end
    watched.names[object] = name
  end
  return name
end

-- ---- figures ----------------------------------------------------------------------------------

-- What a page wants to know beside stats(), by class.
local MORE <const> = {
  ["quota.Tracker"] = function(tracker, stats)
    stats.pressure, stats.level = tracker:pressure()
    stats.top = tracker:top(TOP)
  end,
}

local function figures_of(watched, object)
  local kind <const> = base.type(object) or type(object)
  local stats = object:stats()
  if MORE[kind] then MORE[kind](object, stats) end
  return { name = name_of(watched, object, kind), type = kind, stats = stats }
end

-- Those that the state watches, in the order they were made, then those the server was told of.
local function objects_of(watched)
  local list, seen, told = core.watched(), {}, {}
  for _, object in ipairs(list) do
    seen[object] = true
  end
  for object in pairs(watched.told) do
    if not seen[object] then told[#told + 1] = object end
  end
  table.sort(told, function(a, b) return watched.told[a] < watched.told[b] end)
  return table.move(told, 1, #told, #list + 1, list)
end

--- The figures of all; an object that closes meanwhile is left out.
---@return { name: string, type: string, stats: table }[]
function M.figures(watched)
  local list = {}
  for _, object in ipairs(objects_of(watched)) do
    local ok, figures = pcall(figures_of, watched, object)
    if ok then list[#list + 1] = figures end
  end
  return list
end

return M
