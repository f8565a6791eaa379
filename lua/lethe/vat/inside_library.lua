--- Lua's library as a vat sees it: the same program prints the same on every machine, whatever the
-- collector does. On top of the sandbox's library (lethe.sandbox), which reaches nothing of the
-- host's and charges the meter:
--
--   pairs, next     go by the order of keys: integers, other numbers, strings by bytes, false,
--                   true, far objects in order of their far(), presences by number; others raise
--   tostring, %s    give numbers in the order of asking in the place of addresses; %p raises
--   setmetatable    shows Lua a copy of the metatable, without __gc and __mode
--   table.*         finds a list's end by looking at elements alone; the operator # cannot be
--                   hooked, and in a table with holes its answer may differ from run to run
--   os              has difftime, and nothing else

local list = require "lethe.sandbox.list"

local error, getmetatable, next, rawget, select = error, getmetatable, next, rawget, select
local setmetatable, tostring, type = setmetatable, tostring, type
local byte, find, format, gsub, match = string.byte, string.find, string.format, string.gsub,
  string.match
local concat, sort, pack, unpack = table.concat, table.sort, table.pack, table.unpack
local math_type, tonumber = math.type, tonumber

local M = {}

local function bad(n, name, expected, value, level)
  error(format("bad argument #%d to '%s' (%s expected, got %s)", n, name, expected, type(value)),
    level + 1)
end

-- ---- the order of keys ------------------------------------------------------------------------

local function less_bytes(a, b)
  local n = #a < #b and #a or #b
  for i = 1, n do
    local x, y = byte(a, i), byte(b, i)
    if x ~= y then return x < y end
  end
  return #a < #b
end

local INTEGER <const>, FLOAT <const>, STRING <const>, FALSE <const> = 1, 2, 3, 4
local TRUE <const>, FAR <const>, PRESENCE <const> = 5, 6, 7

-- The group of a key, and what it goes by within it; nil for what has no place.
local function place(vat, key)
  local kind = type(key)
  if kind == "string" then return STRING, key end
  if kind == "number" then return math_type(key) == "integer" and INTEGER or FLOAT, key end
  if kind == "boolean" then return key and TRUE or FALSE, 0 end
  if kind == "table" and vat.far[key] then return FAR, vat.far[key] end
  if kind == "userdata" then
    local vref = vat.slots:slot(key)
    if vref then return PRESENCE, tonumber(match(vref, "%d+")) end
  end
  return nil
end

local function less(a, b)
  if a.group ~= b.group then return a.group < b.group end
  if a.group == STRING then return less_bytes(a.by, b.by) end
  return a.by < b.by
end

local function placed(vat, key, level)
  local group, by = place(vat, key)
  if not group then error("no order for a table key", level + 1) end
  return { group = group, by = by, key = key }
end

local function add_order(vat, env, charge)
  local function check(t, name, level)
    if type(t) ~= "table" then bad(1, name, "table", t, level + 1) end
  end

  function env.next(t, key)
    check(t, "next", 2)
    local after, least = key ~= nil and placed(vat, key, 2), nil
    local n = 0
    for each in next, t do
      n = n + 1
      local it = placed(vat, each, 2)
      if (not after or less(after, it)) and (not least or less(it, least)) then least = it end
    end
    charge(n)
    if least then return least.key, rawget(t, least.key) end
    return nil
  end

  -- The keys that are there when the walk begins, in order; one that has gone is passed over.
  local function walk(t)
    local keys, i = {}, 0
    for key in next, t do
      keys[#keys + 1] = placed(vat, key, 3)
    end
    charge(2 * #keys)
    sort(keys, less)
    return function()
      while true do
        i = i + 1
        local it = keys[i]
        if not it then return nil end
        local value = rawget(t, it.key)
        if value ~= nil then return it.key, value end
      end
    end
  end

  function env.pairs(t)
    local mt = getmetatable(t)
    local own = type(mt) == "table" and rawget(mt, "__pairs")
    if own then
      local fn, state, first = own(t)
      return fn, state, first
    end
    check(t, "pairs", 2)
    return walk(t), t, nil
  end
end

-- ---- names in the place of addresses ----------------------------------------------------------

local function add_text(vat, env)
  local numbers, count = setmetatable({}, { __mode = "k" }), 0

  local function text_of(value)
    local kind = type(value)
    if kind ~= "table" and kind ~= "function" and kind ~= "thread" and kind ~= "userdata" then
      return tostring(value)
    end
    local mt = kind == "table" and getmetatable(value)
    local own = type(mt) == "table" and rawget(mt, "__tostring")
    if own then
      local text = own(value)
      if type(text) ~= "string" then error("'__tostring' must return a string", 3) end
      return text
    end
    local vref = kind == "userdata" and vat.slots:slot(value)
    if vref then return "presence: " .. vref end
    if vat.promises.is(value) then return "promise" end
    local name = type(mt) == "table" and rawget(mt, "__name")
    if not numbers[value] then
      count = count + 1
      numbers[value] = count
    end
    return (type(name) == "string" and name or kind) .. ": " .. numbers[value]
  end

  env.tostring = function(...)
    if select("#", ...) == 0 then error("bad argument #1 to 'tostring' (value expected)", 2) end
    return text_of((...))
  end

  function env.print(...)
    local words = pack(...)
    for i = 1, words.n do
      words[i] = text_of(words[i])
    end
    vat.lines[#vat.lines + 1] = concat(words, "\t")
  end

  -- %s is given text; what it says of other values would be an address.
  local real = env.string.format
  function env.string.format(form, ...)
    if type(form) ~= "string" then return real(form, ...) end
    local values, i = pack(...), 0
    for letter in string.gmatch(gsub(form, "%%%%", ""), "%%[^%a]*(%a)") do
      i = i + 1
      if letter == "p" then error("%p would show an address", 2) end
      if letter == "s" and i <= values.n then values[i] = text_of(values[i]) end
    end
    return real(form, unpack(values, 1, values.n))
  end
end

-- ---- metatables -------------------------------------------------------------------------------

-- Lua looks at a copy: __gc and __mode would show the collector. It is made anew whenever the
-- metatable is set; fields that are added later count from then on.
local function add_metatables(env)
  local copies = setmetatable({}, { __mode = "k" }) -- metatable -> what Lua sees
  local faces = setmetatable({}, { __mode = "k" }) -- and back
  local sandboxed = env.getmetatable

  function env.setmetatable(t, mt)
    if type(t) ~= "table" then bad(1, "setmetatable", "table", t, 2) end
    if mt ~= nil and type(mt) ~= "table" then bad(2, "setmetatable", "nil or table", mt, 2) end
    local seen = getmetatable(t)
    if seen ~= nil and (type(seen) ~= "table" or rawget(seen, "__metatable") ~= nil
      or not faces[seen]) then
      error("cannot change a protected metatable", 2)
    end
    if mt == nil then return setmetatable(t, nil) end
    local twin = copies[mt]
    if not twin then
      twin = {}
      copies[mt], faces[twin] = twin, mt
    end
    for key in next, twin do
      twin[key] = nil
    end
    for key, value in next, mt do
      if type(key) == "string" and find(key, "^__") and key ~= "__gc" and key ~= "__mode" then
        twin[key] = value
      end
    end
    return setmetatable(t, twin)
  end

  function env.getmetatable(value)
    if type(value) ~= "table" then
      return type(value) == "string" and sandboxed(value) or nil
    end
    local mt = getmetatable(value)
    return faces[mt] or mt
  end
end

-- ---- lists ------------------------------------------------------------------------------------

-- A border, found by the elements: doubling, then halving.
local function border(t)
  local mt = getmetatable(t)
  if type(mt) == "table" and rawget(mt, "__len") then return #t end
  if rawget(t, 1) == nil then return 0 end
  local low, high = 1, 2
  while rawget(t, high) ~= nil do
    low, high = high, high * 2
    if high > 1 << 52 then return low end
  end
  while high - low > 1 do
    local middle = (low + high) // 2
    if rawget(t, middle) == nil then high = middle else low = middle end
  end
  return low
end

-- ---- the whole --------------------------------------------------------------------------------

--- Turns a sandbox's environment into a vat's.
---@param env table
---@param vat table
---@param charge? fun(n: integer)
function M.open(env, vat, charge)
  charge = charge or function() end
  add_order(vat, env, charge)
  add_text(vat, env)
  add_metatables(env)
  for name, fn in next, list.library(charge, border) do
    env.table[name] = fn
  end
  env.os = { difftime = function(a, b) return a - (b or 0) end }
end

return M
