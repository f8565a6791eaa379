-- JSON (RFC 8259), as transcripts, logs and the live view need it: equal values give equal text.
--
--   json.encode{ b = 1, a = json.array{} }     --> {"a":[],"b":1}
--   json.decode '[1, null, "x"]'               --> { 1, json.null, "x" }
--
-- Members of objects are written in the order of their bytes, integers as integers, other numbers
-- with as many digits as give the same number back. A table is an array if it has [1], or if
-- json.array says so; json.null stands for null. Strings are bytes: what is UTF-8 stays so, control
-- characters are escaped.

local base = require "lethe.core.base"

local M = {}

local type, tostring, error = type, tostring, error
local format, byte, find, gsub, sub = string.format, string.byte, string.find, string.gsub,
  string.sub

---@class lethe.json.null
M.null = setmetatable({}, { __name = "lethe.json.null", __tostring = function() return "null" end })

local ARRAY <const> = { __name = "lethe.json.array" }

--- Marks a table as an array, for those that are empty; returns it.
---@param t table
---@return table
function M.array(t)
  return setmetatable(t, ARRAY)
end

-- ---- writing ----------------------------------------------------------------------------------

local ESCAPES <const> = { ['"'] = '\\"', ["\\"] = "\\\\", ["\n"] = "\\n", ["\r"] = "\\r",
  ["\t"] = "\\t", ["\b"] = "\\b", ["\f"] = "\\f" }

local function quote(text)
  return '"' .. gsub(text, '[%c"\\\127]', function(c)
    return ESCAPES[c] or format("\\u%04x", byte(c))
  end) .. '"'
end

local function write_number(value)
  if math.type(value) == "integer" then return format("%d", value) end
  if value ~= value or value == math.huge or value == -math.huge then
    return "null" -- JSON has none of these
  end
  local short = format("%.15g", value)
  if tonumber(short) ~= value then short = format("%.17g", value) end
  return find(short, "^%-?%d+$") and short .. ".0" or short
end

local write

local function write_array(t, order, depth)
  local parts = {}
  for i = 1, #t do
    parts[i] = write(t[i], order, depth)
  end
  return "[" .. table.concat(parts, ",") .. "]"
end

-- Those of the order first, then the others.
local function keys_of(t, order)
  local keys, rest, first = {}, {}, {}
  for _, key in ipairs(order or {}) do
    if t[key] ~= nil then keys[#keys + 1] = key end
    first[key] = true
  end
  for key in pairs(t) do
    if type(key) ~= "string" then
      error(("a JSON object has strings as keys, not %s"):format(tostring(key)), 0)
    end
    if not first[key] then rest[#rest + 1] = key end
  end
  table.sort(rest, base.less)
  return table.move(rest, 1, #rest, #keys + 1, keys)
end

local function write_object(t, order, depth)
  local parts = keys_of(t, order)
  for i, key in ipairs(parts) do
    parts[i] = quote(key) .. ":" .. write(t[key], order, depth)
  end
  return "{" .. table.concat(parts, ",") .. "}"
end

function write(value, order, depth)
  local kind <const> = type(value)
  if kind == "string" then return quote(value) end
  if kind == "number" then return write_number(value) end
  if kind == "boolean" then return tostring(value) end
  if value == nil or value == M.null then return "null" end
  if kind ~= "table" then error(("a %s cannot be written as JSON"):format(kind), 0) end
  if depth > 200 then error("too deep, or in a circle, to be written as JSON", 0) end
  if value[1] ~= nil or getmetatable(value) == ARRAY then
    return write_array(value, order, depth + 1)
  end
  return write_object(value, order, depth + 1)
end

--- The text of a value; raises for what JSON cannot say.
---@param value any
---@param order string[]? members that come first, in every object
---@return string
function M.encode(value, order)
  local ok, text = pcall(write, value, order, 0)
  if not ok then error(text, 2) end
  return text
end

-- ---- reading ----------------------------------------------------------------------------------

local function fail(text, at, what)
  local line, from = 1, 0
  for i in text:sub(1, at - 1):gmatch("()\n") do
    line, from = line + 1, i
  end
  error(("JSON line %d, column %d: %s"):format(line, at - from, what), 0)
end

local function skip(text, at)
  return find(text, "[^ \t\r\n]", at) or #text + 1
end

local UNESCAPES <const> = { ['"'] = '"', ["\\"] = "\\", ["/"] = "/", n = "\n", r = "\r", t = "\t",
  b = "\b", f = "\f" }

-- The character of an escape whose letter is at `at`, and where the text goes on.
local function read_escape(text, at)
  local letter <const> = sub(text, at, at)
  if UNESCAPES[letter] then return UNESCAPES[letter], at + 1 end
  local code = letter == "u" and tonumber(text:match("^%x%x%x%x", at + 1) or "", 16)
  if not code then fail(text, at - 1, "no such escape") end
  at = at + 5
  local low = code >= 0xD800 and code < 0xDC00 and text:match("^\\u(%x%x%x%x)", at)
  low = low and tonumber(low, 16)
  if low and low >= 0xDC00 and low < 0xE000 then
    return utf8.char(0x10000 + (code - 0xD800) * 0x400 + low - 0xDC00), at + 6
  end
  return utf8.char(code), at
end

local function read_string(text, at)
  local parts, from = {}, at + 1
  while true do
    local stop <const> = find(text, '[%c"\\]', from)
    if not stop then fail(text, at, "a string that does not end") end
    parts[#parts + 1] = sub(text, from, stop - 1)
    local c <const> = sub(text, stop, stop)
    if c == '"' then return table.concat(parts), stop + 1 end
    if c ~= "\\" then fail(text, stop, "a control character in a string") end
    parts[#parts + 1], from = read_escape(text, stop + 1)
  end
end

local function read_number(text, at)
  local digits <const> = text:match("^%-?%d+", at)
  if not digits or digits:find("^%-?0%d") then fail(text, at, "a value expected") end
  local rest <const> = text:match("^%.%d+[eE][+-]?%d+", at + #digits)
    or text:match("^[eE][+-]?%d+", at + #digits) or text:match("^%.%d+", at + #digits) or ""
  return tonumber(digits .. rest), at + #digits + #rest
end

local read

-- What stands between brackets: calls item(at), which says where it ended, for each.
local function read_list(text, at, closing, item)
  at = skip(text, at + 1)
  if sub(text, at, at) == closing then return at + 1 end
  while true do
    at = skip(text, item(at))
    local c <const> = sub(text, at, at)
    if c == closing then return at + 1 end
    if c ~= "," then fail(text, at, ('"," or "%s" expected'):format(closing)) end
    at = skip(text, at + 1)
  end
end

local function read_array(text, at, depth)
  local list, n = M.array({}), 0
  return list, read_list(text, at, "]", function(from)
    n = n + 1
    list[n], from = read(text, from, depth)
    return from
  end)
end

local function read_object(text, at, depth)
  local object = {}
  return object, read_list(text, at, "}", function(from)
    if sub(text, from, from) ~= '"' then fail(text, from, "a member's name expected") end
    local key, after = read_string(text, from)
    after = skip(text, after)
    if sub(text, after, after) ~= ":" then fail(text, after, '":" expected') end
    object[key], after = read(text, skip(text, after + 1), depth)
    return after
  end)
end

local WORDS <const> = { t = { "true", true }, f = { "false", false }, n = { "null", M.null } }

function read(text, at, depth)
  if depth > 200 then fail(text, at, "too deep") end
  local c <const> = sub(text, at, at)
  if c == "{" then return read_object(text, at, depth + 1) end
  if c == "[" then return read_array(text, at, depth + 1) end
  if c == '"' then return read_string(text, at) end
  local word <const> = WORDS[c]
  if word and sub(text, at, at + #word[1] - 1) == word[1] then return word[2], at + #word[1] end
  return read_number(text, at)
end

--- The value of a text: nil and a message that names line and column if it is no JSON. Arrays are
--- marked as json.array does, null is json.null.
---@param text string
---@return any value
---@return string? message
function M.decode(text)
  if type(text) ~= "string" then
    error(("bad argument #1 to 'decode' (string expected, got %s)"):format(type(text)), 2)
  end
  local ok, value, at = pcall(read, text, skip(text, 1), 0)
  if ok then
    at = skip(text, at)
    if at > #text then return value end
    value = select(2, pcall(fail, text, at, "the end expected"))
  end
  return nil, value
end

--- The values of a text that has one on each line; empty lines are skipped. nil, a message and the
--- number of the line if one is no JSON.
---@param text string
---@return any[]? values
---@return string? message
---@return integer? line
function M.decode_lines(text)
  local list, line = {}, 0
  for one in (text .. "\n"):gmatch("([^\n]*)\n") do
    line = line + 1
    if find(one, "%S") then
      local value, message = M.decode(one)
      if message then return nil, message, line end
      list[#list + 1] = value
    end
  end
  return list
end

return M
