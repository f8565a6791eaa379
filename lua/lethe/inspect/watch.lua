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

local function name_of(watched, object, kind, label)
  local name = watched.names[object]
  if not name then
    name = label
    if not name or name == "" then
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
  ["vat.Kernel"] = function(_, stats)
    stats.by_vat, stats.output = {}, nil
    for name, imports in pairs(stats.imports) do
      table.insert(stats.by_vat, { name = name, imports = imports })
    end
    table.sort(stats.by_vat, function(a, b) return base.less(a.name, b.name) end)
  end,
}

local function figures_of(watched, object, label)
  local kind <const> = base.type(object) or type(object)
  local stats = object:stats()
  if MORE[kind] then MORE[kind](object, stats) end
  return { name = name_of(watched, object, kind, label), type = kind, stats = stats }
end

-- Those that the state watches, in the order they were made, then those the server was told of;
-- and the labels of the former.
local function objects_of(watched)
  local list, labels = core.watched()
  local seen, told = {}, {}
  for _, object in ipairs(list) do
    seen[object] = true
  end
  for object in pairs(watched.told) do
    if not seen[object] then told[#told + 1] = object end
  end
  table.sort(told, function(a, b) return watched.told[a] < watched.told[b] end)
  return table.move(told, 1, #told, #list + 1, list), labels
end

--- The figures of all; an object that closes meanwhile is left out.
---@return { name: string, type: string, stats: table }[]
function M.figures(watched)
  local list = {}
  local objects, labels = objects_of(watched)
  for i, object in ipairs(objects) do
    local ok, figures = pcall(figures_of, watched, object, labels[i])
    if ok then list[#list + 1] = figures end
  end
  return list
end

return M
