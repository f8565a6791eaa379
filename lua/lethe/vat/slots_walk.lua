-- A walk over a vat's heap: what is within reach, and what keeps it.
--
-- The walk starts where a vat's objects can be held: userspace's roots (the option `roots` of
-- vat.slots, or else everything that the Lua state can reach), the root object, exports that the
-- kernel reaches, promises, devices, and what stored data mentions. It goes through tables,
-- closures, user values and coroutines as the collector does, weak tables and ephemerons included.
-- The simulated collector of engine "manual" is this walk; `why` is its path.

local base = require "lethe.core.base"
local core = require "lethe.core.slots"

local M = {}

local getmetatable, getuservalue = debug.getmetatable, debug.getuservalue
local getupvalue, getlocal, getinfo = debug.getupvalue, debug.getlocal, debug.getinfo

local WALKED <const> = { table = true, userdata = true, ["function"] = true, thread = true }

-- ---- one object -------------------------------------------------------------------------------

local function mode_of(object)
  local mt = getmetatable(object)
  local mode = type(mt) == "table" and rawget(mt, "__mode")
  if type(mode) ~= "string" then return false, false end
  return mode:find("k", 1, true) ~= nil, mode:find("v", 1, true) ~= nil
end

local function key_text(key)
  if type(key) == "string" then return key end
  if type(key) == "number" then return "[" .. key .. "]" end
  return "[" .. type(key) .. "]"
end

local each = {}

function each.table(object, visit, later)
  local weak_keys, weak_values = mode_of(object)
  visit(getmetatable(object), "metatable")
  if weak_keys and weak_values then return end
  for key, value in next, object do
    if weak_keys then
      later(key, value)
    else
      visit(key, "a key")
      if not weak_values then visit(value, key_text(key)) end
    end
  end
end

function each.userdata(object, visit)
  visit(getmetatable(object), "metatable")
  local n = 1
  while true do
    local value, more = getuservalue(object, n)
    if not more then return end
    visit(value, "user value " .. n)
    n = n + 1
  end
end

each["function"] = function(object, visit)
  local n = 1
  while true do
    local name, value = getupvalue(object, n)
    if not name then return end
    visit(value, "upvalue " .. (name == "" and n or name))
    n = n + 1
  end
end

-- Every slot of a coroutine's frames, variables or not.
local function each_frame(thread, level, visit)
  local info = getinfo(thread, level, "f")
  if not info then return false end
  visit(info.func, "a call")
  for _, sign in ipairs{ 1, -1 } do
    local n = sign
    while true do
      local name, value = getlocal(thread, level, n)
      if not name then break end
      visit(value, "local " .. name)
      n = n + sign
    end
  end
  return true
end

function each.thread(object, visit)
  local level = 0
  while each_frame(object, level, visit) do
    level = level + 1
  end
end

-- ---- the walk ---------------------------------------------------------------------------------

-- Marks everything in reach of what start(visit) names. skip: objects that lead nowhere; held:
-- those that are alive besides; hanging: by object, what some weak-keyed table has under it.
-- Returns parent, label: by object, for paths; and the { table, key, value } whose keys it missed.
local function mark(start, skip, held, hanging)
  local parent, label, queue, waiting = {}, {}, {}, {}

  local function visitor(from)
    return function(object, how)
      if not WALKED[type(object)] or skip[object] or label[object] then return end
      parent[object], label[object] = from, how
      queue[#queue + 1] = object
    end
  end

  local function drain()
    local n = 1
    while queue[n] do
      local object = queue[n]
      each[type(object)](object, visitor(object), function(key, value)
        if WALKED[type(value)] then waiting[#waiting + 1] = { object, key, value } end
      end)
      for _, entry in ipairs(hanging and hanging[object] or {}) do
        visitor(entry[1])(entry[3], "a weak key's value")
      end
      n = n + 1
    end
    queue = {}
  end

  -- Ephemerons: a value counts once its key does.
  local function release()
    local still = {}
    for _, entry in ipairs(waiting) do
      local key = entry[2]
      if not WALKED[type(key)] or label[key] or held and held[key] then
        visitor(entry[1])(entry[3], "a weak key's value")
      else
        still[#still + 1] = entry
      end
    end
    waiting = still
    return queue[1] ~= nil
  end

  start(visitor(nil))
  repeat
    drain()
  until not release()
  return parent, label, waiting
end

-- Why a slot of the vat's own is held.
local function hold_text(self, slot)
  local vref = core.name(self, slot)
  local kind = core.parse(vref)
  if vref == "o+0" then return "the root object" end
  if kind == "p" then return "the unresolved promise " .. vref end
  if kind == "d" then return "the device " .. vref end
  local _, reachable, _, _, _, _, vdata = core.look(self, slot)
  return reachable and "the export " .. vref or vdata > 0 and "stored data: " .. vref or vref
end

-- The whole state: the registry, and the coroutine that runs or, from within another, `caller`.
local function visit_state(visit, caller)
  visit(debug.getregistry(), "the Lua state")
  local thread, level = caller or coroutine.running(), caller and 0 or 2
  while each_frame(thread, level, visit) do
    level = level + 1
  end
end

-- What leads nowhere: the tables themselves, and their objects' metatables, whose methods would
-- lead all over the program. Where userspace's roots are given, globals and modules are none of
-- them.
local function skipped(self, of)
  local values, locals, pins = core.tables(self)
  local skip = { [values] = true, [locals] = true, [of] = true, [pins] = true, [self] = true }
  for _, name in ipairs{ "map", "set", "store", "weak_store", "device" } do
    skip[of[name]] = true
  end
  if of.roots ~= nil then
    skip[debug.getregistry()], skip[_G], skip[package.loaded] = true, true, true
    for _, module in next, package.loaded do
      if type(module) == "table" then skip[module] = true end
    end
  end
  return skip, pins
end

local function walk(self, of, caller)
  local skip, pins = skipped(self, of)
  if caller then skip[coroutine.running()] = true end
  return mark(function(visit)
    for slot, object in next, pins do
      visit(object, hold_text(self, slot))
    end
    if of.roots == nil then
      visit_state(visit, caller)
    else
      for name, object in next, of.roots do
        visit(object, "register " .. tostring(name))
      end
    end
  end, skip)
end

--- The slots whose bodies are in reach.
---@return table<integer, boolean>
function M.reached(self, of)
  local values = core.tables(self)
  local _, label = walk(self, of)
  local set = {}
  for slot, object in next, values do
    if label[object] then set[slot] = true end
  end
  return set
end

local function by_name(self)
  return function(a, b) return base.less(core.name(self, a), core.name(self, b)) end
end

--- The slots whose bodies are out of reach, sorted by their names; among the named ones, in the
--- order of the list, if there is one.
---@param names string[]?
---@return integer[]
function M.unreached(self, of, names)
  local values = core.tables(self)
  local reached = M.reached(self, of)
  local wanted = {}
  for _, name in ipairs(names or {}) do
    wanted[name] = true
  end
  local list = {}
  for slot in next, values do
    local name = core.name(self, slot)
    local body = core.look(self, slot) == "REACHABLE" and name ~= "o+0"
      and not name:find("^[pd]")
    if body and not reached[slot] and (not names or wanted[name]) then list[#list + 1] = slot end
  end
  table.sort(list, by_name(self))
  return list
end

-- Runs in a coroutine of its own, as what it has in hand keeps nothing.
local function find_why(self, of, vref, caller)
  local slot = core.find(self, vref)
  if not slot then return nil end
  local parent, label = walk(self, of, caller)
  local body = (core.tables(self))[slot]
  local path = {}
  local _, reachable, recognizable, _, _, recognizers, vdata = core.look(self, slot)
  while body ~= nil and label[body] do
    path[#path + 1] = label[body]
    body = parent[body]
  end
  if not path[1] and vdata > 0 then path[1] = "stored data" end
  if not path[1] and recognizers > 0 then path[1] = "a recognizer: a weak collection's key" end
  if not path[1] and not core.parse(vref) then return nil end
  if not path[1] and reachable and select(2, core.parse(vref)) then path[1] = "an export pin" end
  return (path[1] or recognizable and path[1]) and path or nil
end

--- What keeps a name, the last step first; nil if nothing does.
---@param vref string
---@return string[]?
function M.why(self, of, vref)
  local caller = coroutine.running()
  local ok, path = coroutine.resume(coroutine.create(find_why), self, of, vref, caller)
  if not ok then error(path, 0) end
  return path
end

-- ---- what hangs on what -----------------------------------------------------------------------

-- Whether only the kernel holds it: an export that it reaches.
local function is_export(self, slot)
  local kind, own = core.parse(core.name(self, slot))
  local _, reachable, _, _, _, _, vdata = core.look(self, slot)
  return kind == "o" and own and reachable and vdata == 0 and core.name(self, slot) ~= "o+0"
end

-- The names of imports whose presences were reached, and with `stored` of those that data mentions.
local function imports(self, label, stored)
  local list = {}
  for slot, object in next, (core.tables(self)) do
    local name = core.name(self, slot)
    local vdata = select(7, core.look(self, slot))
    if name:find("^o%-") and (label[object] or stored and vdata > 0) then list[#list + 1] = name end
  end
  table.sort(list, base.less)
  return list
end

-- Adds entries to those that hang on their keys; whether there were new ones.
local function hang(hanging, entries)
  local more = false
  for _, entry in ipairs(entries) do
    local on = hanging[entry[2]] or {}
    hanging[entry[2]] = on
    local known = false
    for _, other in ipairs(on) do
      known = known or other[1] == entry[1]
    end
    if not known then on[#on + 1], more = entry, true end
  end
  return more
end

-- What is below each export, by its name. An entry of a weak-keyed table is there for whoever
-- reaches its key, whatever holds the table: rather too much is alive than too little.
local function below(self, pins, beyond, held, hanging)
  local exports, more = {}, false
  for slot, object in next, pins do
    if is_export(self, slot) then
      local _, label, waiting = mark(function(visit) visit(object, "the export") end, beyond, held,
        hanging)
      exports[core.name(self, slot)] = imports(self, label)
      more = hang(hanging, waiting) or more
    end
  end
  return exports, more
end

-- Runs in a coroutine of its own, `co`, so that what it has in hand is held by nothing that it
-- visits.
local function find_edges(self, of, co)
  local skip, pins = skipped(self, of)
  skip[co] = true
  local _, held, waiting = mark(function(visit)
    for slot, object in next, pins do
      if not is_export(self, slot) then visit(object, "a pin") end
    end
    if of.roots == nil then visit(debug.getregistry(), "the Lua state") end
    for _, object in next, of.roots or {} do
      visit(object, "a register")
    end
  end, skip)
  local beyond = setmetatable({}, { __index = function(_, object)
    return held[object] or skip[object]
  end })
  local hanging = {}
  local exports, more
  hang(hanging, waiting)
  repeat
    exports, more = below(self, pins, beyond, held, hanging)
  until not more
  return { roots = imports(self, held, true), exports = exports }
end

--- Which imports hang on which of the exports that the kernel reaches, and which on anything else.
--- To be called while nothing of userspace runs.
---@return { roots: string[], exports: table<string, string[]> }
function M.edges(self, of)
  local co = coroutine.create(find_edges)
  local ok, result = coroutine.resume(co, self, of, co)
  if not ok then error(result, 0) end
  return result
end

return M
