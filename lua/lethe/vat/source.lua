-- The code of a vat, as text that can go into another Lua state: of a function its bytecode, of a
-- string, a file or a module what is written there. No message of the vat's shows where on this
-- machine it came from.

local base = require "lethe.core.base"
local portable = require "lethe.portable"

local M = {}

local KINDS <const> = "a build is a function, a string, { module = name } or { file = path }"

-- A dump begins with a header of 31 bytes, the number of upvalues, and the name of the source: its
-- length + 1 in groups of 7 bits, the last of which is marked, and then its bytes.
local HEADER <const> = 4 + 1 + 1 + 6 + 3 + 8 + 8 + 1

local function size_of(n)
  local groups = { string.char(n & 0x7f | 0x80) }
  n = n >> 7
  while n > 0 do
    table.insert(groups, 1, string.char(n & 0x7f))
    n = n >> 7
  end
  return table.concat(groups)
end

-- The same function, said to come from elsewhere.
local function renamed(dump, name)
  local at, size = HEADER + 1, 0
  local c
  repeat
    c = dump:byte(at)
    size, at = size << 7 | c & 0x7f, at + 1
  until c & 0x80 ~= 0
  return dump:sub(1, HEADER) .. size_of(#name + 1) .. name .. dump:sub(at + size - 1)
end

local function read_file(path)
  local file, message = io.open(path, "rb")
  if not file then return nil, message end
  local closing <close> = file
  local text, why = closing:read("a")
  return text, why and ("%s: %s"):format(path, why)
end

local function read_named(how, level)
  base.options(how, { "module", "file" }, level + 1)
  local path, name = how.file, how.module
  if (path == nil) == (name == nil) or type(path or name) ~= "string" then
    error(KINDS, level + 1)
  end
  if name then
    local found, message = package.searchpath(name, package.path)
    if not found then error(("module '%s' not found:%s"):format(name, message), level + 1) end
    path = found
  end
  local text, message = read_file(path)
  if not text then error(message, level + 1) end
  return text:gsub("^#[^\n]*", ""), "=" .. (name or path:match("[^/]*$"))
end

--- Text, name and mode of the chunk for `load`. Raises at `level` for what is no build.
---@param how any
---@param name string of the vat
---@param level integer
---@return string text
---@return string chunk_name
---@return "t"|"b" mode
function M.read(how, name, level)
  local kind <const> = type(how)
  if kind == "function" then
    portable.check(how, "a build", nil, level + 1)
    return renamed(string.dump(how), "=" .. name), "=" .. name, "b"
  end
  if kind == "string" then return how, "=" .. name, "t" end
  if kind ~= "table" then
    error(("%s (got %s)"):format(KINDS, base.type(how) or kind), level + 1)
  end
  local text, chunk_name = read_named(how, level + 1)
  return text, chunk_name, "t"
end

return M
