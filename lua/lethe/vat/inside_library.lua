-- Lua's library as a vat sees it: the same program does the same on every machine, whatever the
-- collector does. On top of the sandbox's library (lethe.sandbox), which reaches nothing of the
-- host's and charges the meter:
--
--   pairs, next     go by the order of keys: integers, other numbers, strings by bytes, false,
--                   true, far objects in the order of their far(), presences by number; other keys
--                   raise
--   tostring, %s    give numbers in the order of asking in the place of addresses, so does %p
--   setmetatable    takes everything, but __gc and __mode are fields like any other
--   table.*, rawlen find a list's end by looking at elements alone; the operator # cannot be
--                   hooked: in a table with holes, and with keys that are strings or objects, its
--                   answer may differ from run to run; with keys that are numbers it does not
--   os              has difftime, and nothing else

local core = require "lethe.core.inside"
local list = require "lethe.sandbox.list"

local error, select, setmetatable, tostring, type = error, select, setmetatable, tostring, type
local find, format, match, sub = string.find, string.format, string.match, string.sub
local concat, pack, unpack = table.concat, table.pack, table.unpack
local metafield = core.metafield

local M = {}

-- ---- names in the place of addresses ----------------------------------------------------------

local ADDRESSED <const> = { table = true, ["function"] = true, thread = true, userdata = true }

-- text_of(value, level): what tostring gives; pointer_of(value): what %p gives. A presence has no
-- number of its own: one that is made anew must get what the one before it got.
local function texts(vat)
  local numbers, count = setmetatable({}, { __mode = "k" }), 0

  local function number_of(value)
    local number = numbers[value]
    if not number then
      count = count + 1
      number = count
      numbers[value] = number
    end
    return number
  end

  local function text_of(value, level)
    local kind = type(value)
    if not ADDRESSED[kind] then return tostring(value) end
    local own = metafield(value, "__tostring")
    if own then
      local text = own(value)
      if type(text) ~= "string" then error("'__tostring' must return a string", level + 1) end
      return text
    end
    local known = kind == "userdata" and vat.text_of(value)
    if known then return known end
    local name = metafield(value, "__name")
    return (type(name) == "string" and name or kind) .. ": " .. number_of(value)
  end

  local function pointer_of(value)
    local kind = type(value)
    if not ADDRESSED[kind] then return "(null)" end
    local known = kind == "userdata" and vat.text_of(value)
    return known or format("0x%08x", number_of(value))
  end

  return text_of, pointer_of
end

-- string.format: what the C library would say of tables and the like, in %s and %p, is an address.
-- The format and values with which it says something else.
local function disguise(text_of, pointer_of, form, values)
  local at, i = find(form, "%", 1, true), 0
  while at do
    local last, letter = match(form, "^[-+ #0-9.]*()(%a)", at + 1)
    if not letter then
      last = at + 1 -- %%, or none that there is
    else
      i = i + 1
    end
    if i > values.n then break end
    if letter == "s" then
      values[i] = text_of(values[i], 4)
    elseif letter == "p" then
      values[i] = pointer_of(values[i])
      form = sub(form, 1, last - 1) .. "s" .. sub(form, last + 1)
    end
    at = find(form, "%", last + 1, true)
  end
  return form
end

local function formatter(text_of, pointer_of, real)
  return function(form, ...)
    if type(form) ~= "string" or not find(form, "%%[-+ #0-9.]*[sp]") then return real(form, ...) end
    local values = pack(...)
    form = disguise(text_of, pointer_of, form, values)
    return real(form, unpack(values, 1, values.n))
  end
end

local function add_text(vat, env)
  local text_of, pointer_of = texts(vat)

  env.tostring = function(...)
    if select("#", ...) == 0 then error("bad argument #1 to 'tostring' (value expected)", 2) end
    return (text_of((...), 2))
  end

  env.print = function(...)
    local words = pack(...)
    for i = 1, words.n do
      words[i] = text_of(words[i], 2)
    end
    vat.lines[#vat.lines + 1] = concat(words, "\t")
  end

  env.string.format = formatter(text_of, pointer_of, env.string.format)
end

-- ---- the whole --------------------------------------------------------------------------------

local function number(value, position, level)
  if type(value) == "number" then return value end
  error(format("bad argument #%d to 'difftime' (number expected, got %s)", position,
    value == nil and "no value" or type(value)), level + 1)
end

--- Turns a sandbox's environment into a vat's.
---@param env table
---@param vat table slots, far: far object -> number, lines, text_of(userdata)
---@param charge fun(n: integer)
function M.open(env, vat, charge)
  env.pairs, env.next = core.order(vat.slots, vat.far)
  env.setmetatable, env.getmetatable = core.metatables(env.getmetatable(""))
  env.rawlen = core.rawlen
  add_text(vat, env)
  for name, fn in next, list.library(charge, core.length) do
    env.table[name] = fn
  end
  env.os = {
    difftime = function(to, from)
      return number(to, 1, 2) - number(from, 2, 2) + 0.0
    end,
  }
  core.keep_strings(env.string)
end

return M
