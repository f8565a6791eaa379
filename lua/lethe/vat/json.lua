--- JSON lines: what scripts, logs and transcripts are written in.
--
-- Reading is dkjson's work (Debian: lua-dkjson), which keeps integers apart from floats and lists
-- apart from objects. Writing is done here, because the same value must always give the same text:
-- keys come in a given order or sorted by bytes.
--
--   json.decode('{"a":[1,null]}')     --> { a = { 1, json.null } }
--   json.encode({ b = 1, a = json.list{} }, { "b" })     --> '{"b":1,"a":[]}'

local base = require "lethe.core.base"

local M = {}

local concat, format, sort = table.concat, string.format, table.sort

--- What stands for null where nil cannot.
M.null = setmetatable({}, { __name = "null", __tostring = function() return "null" end })

local LIST <const> = { __jsontype = "array" }
local OBJECT <const> = { __jsontype = "object" }

--- Marks a table as a list: an empty one is written [].
---@param t table
---@return table
function M.list(t)
  return setmetatable(t, LIST)
end

--- Marks a table as an object: an empty one is written {}.
---@param t table
---@return table
function M.object(t)
  return setmetatable(t, OBJECT)
end

-- ---- writing ----------------------------------------------------------------------------------

local ESCAPES <const> = {
  ['"'] = '\\"', ["\\"] = "\\\\", ["\b"] = "\\b", ["\f"] = "\\f", ["\n"] = "\\n", ["\r"] = "\\r",
  ["\t"] = "\\t",
}

local function escape(c)
  return ESCAPES[c] or format("\\u%04x", c:byte())
end

local function quote(text)
  return '"' .. text:gsub('[%c"\\\127]', escape) .. '"'
end

-- Reads back as the same number, of the same kind, whatever the locale says.
local function number(n)
  if math.type(n) == "integer" then return format("%d", n) end
  if n ~= n or n == math.huge or n == -math.huge then error("a number that JSON cannot say", 0) end
  local text = format("%.15g", n)
  if tonumber(text) ~= n then text = format("%.17g", n) end
  text = text:gsub("[^%d%+%-eE]", ".")
  return text:find("[.eE]") and text or text .. ".0"
end

local function is_list(t)
  local mt = getmetatable(t)
  local kind = type(mt) == "table" and mt.__jsontype
  if kind then return kind == "array" end
  return rawlen(t) > 0
end

local function keys_of(t, order)
  local keys, rest, given = {}, {}, {}
  for _, key in ipairs(order or {}) do
    if t[key] ~= nil then
      keys[#keys + 1] = key
      given[key] = true
    end
  end
  for key in next, t do
    if type(key) ~= "string" then error("an object's key that is no string", 0) end
    if not given[key] then rest[#rest + 1] = key end
  end
  sort(rest, base.less)
  return table.move(rest, 1, #rest, #keys + 1, keys)
end

local write

local function write_table(t, order, out)
  if is_list(t) then
    out[#out + 1] = "["
    for i = 1, rawlen(t) do
      if i > 1 then out[#out + 1] = "," end
      write(t[i], order, out)
    end
    out[#out + 1] = "]"
    return
  end
  out[#out + 1] = "{"
  for i, key in ipairs(keys_of(t, order)) do
    if i > 1 then out[#out + 1] = "," end
    out[#out + 1] = quote(key)
    out[#out + 1] = ":"
    write(t[key], order, out)
  end
  out[#out + 1] = "}"
end

function write(value, order, out)
  local kind = type(value)
  if value == nil or value == M.null then
    out[#out + 1] = "null"
  elseif kind == "boolean" then
    out[#out + 1] = tostring(value)
  elseif kind == "number" then
    out[#out + 1] = number(value)
  elseif kind == "string" then
    out[#out + 1] = quote(value)
  elseif kind == "table" then
    write_table(value, order, out)
  else
    error(("a %s, which JSON cannot say"):format(kind), 0)
  end
end

--- A value as one line. A table with a length, or marked so, is a list. Strings go out as they
--- are, but for what JSON escapes.
---@param value any
---@param order string[]? keys that come first, in every object
---@return string
function M.encode(value, order)
  local out = {}
  write(value, order, out)
  return concat(out)
end

-- ---- reading ----------------------------------------------------------------------------------

local function library()
  local ok, dkjson = pcall(require, "dkjson")
  if ok then return dkjson end
  error("reading JSON needs dkjson (Debian: lua-dkjson)", 0)
end

--- What a text says; null is json.null, inside tables and by itself. nil and a message for what is
--- no JSON.
---@param text string
---@return any
---@return string? message
function M.decode(text)
  local dkjson = library()
  local value, position, message = dkjson.decode(text, 1, M.null, OBJECT, LIST)
  if message then return nil, message end
  local rest = text:find("[^ \t\r\n]", position)
  if rest then return nil, ("something follows at %d"):format(rest) end
  return value
end

--- The values of a text, line by line; empty lines are skipped. nil, message, number of the line.
---@param text string
---@return any[]?
---@return string? message
---@return integer? line
function M.decode_lines(text)
  local list, line = {}, 0
  for one in (text .. "\n"):gmatch("([^\n]*)\n") do
    line = line + 1
    if one:find("%S") then
      local value, message = M.decode(one)
      if value == nil then return nil, message, line end
      list[#list + 1] = value
    end
  end
  return list
end

return M
