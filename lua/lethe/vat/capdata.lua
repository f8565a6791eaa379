-- What a message or a resolution carries: { data, slots }. `slots` lists names of objects and
-- promises, `data` says what is made of them and belongs to the vats: the kernel copies it and
-- does not look
-- into it. It is a string that lethe.vat.marshal understands, or any plain value: nil, booleans,
-- numbers, strings, and tables of these.
--
-- Both can be asked for, and given, by name (args.data) or by position (args[1]).

local M = {}

local DEPTH <const> = 100 -- of tables in data

local PLAIN <const> = { ["nil"] = true, boolean = true, number = true, string = true }

local Args = {}
function Args.__index(args, key)
  if key == 1 then return rawget(args, "data") end
  if key == 2 then return rawget(args, "slots") end
end

local Resolution = {}
function Resolution.__index(resolution, key)
  local position = key == "vpid" and 1 or key == "rejected" and 2 or key == "args" and 3
  return position and rawget(resolution, position) or nil
end

-- A copy of a plain value, or nil and what is wrong with it.
local function copy_plain(value, depth)
  local kind = type(value)
  if PLAIN[kind] then return value end
  if kind ~= "table" then return nil, ("data holds a %s"):format(kind) end
  if depth == 0 then return nil, "data is nested too deeply" end
  local copy = {}
  for key, each in next, value do
    if type(key) ~= "string" and (type(key) ~= "number") then
      return nil, ("data has a key that is a %s"):format(type(key))
    end
    local inner, message = copy_plain(each, depth - 1)
    if message then return nil, message end
    copy[key] = inner
  end
  return copy
end

local function list_of_names(value, what)
  if type(value) ~= "table" then
    return nil, ("%s must be a list of names (got %s)"):format(what, type(value))
  end
  local list, n = {}, 0
  for _ in next, value do
    n = n + 1
  end
  for i = 1, n do
    local name = rawget(value, i)
    if type(name) ~= "string" then
      return nil, ("%s must be a list of names (element %d is a %s)"):format(what, i, type(name))
    end
    list[i] = name
  end
  return list
end
M.list_of_names = list_of_names

local function either(value, name, position)
  local found = rawget(value, name)
  if found == nil then found = rawget(value, position) end
  return found
end

--- Args of these two.
---@param data any
---@param slots string[]
---@return table
function M.new(data, slots)
  return setmetatable({ data = data, slots = slots }, Args)
end

--- A resolution { vpid, rejected, args }.
---@return table
function M.resolution(vpid, rejected, args)
  return setmetatable({ vpid, rejected, args }, Resolution)
end

--- A copy of args that somebody gave, in any of their forms; nil is no slots and no data.
---@param value any
---@return table? args
---@return string? message what is wrong with it
function M.take(value)
  if value == nil then return M.new(nil, {}) end
  if type(value) ~= "table" then
    return nil, ("args must be { data, slots } (got %s)"):format(type(value))
  end
  local data, why = copy_plain(either(value, "data", 1), DEPTH)
  if why then return nil, why end
  local given = either(value, "slots", 2)
  local slots, message = list_of_names(given == nil and {} or given, "slots")
  if not slots then return nil, message end
  return M.new(data, slots)
end

--- Args with other slots, for who may change what it gets.
---@param args table
---@param slots string[]
---@return table
function M.with_slots(args, slots)
  local data = args.data
  return M.new(type(data) == "table" and copy_plain(data, DEPTH) or data, slots)
end

--- A copy of a resolution that somebody gave.
---@param value any
---@return table? resolution
---@return string? message
function M.take_resolution(value)
  if type(value) ~= "table" then
    return nil, ("a resolution must be { vpid, rejected, args } (got %s)"):format(type(value))
  end
  local vpid, rejected = either(value, "vpid", 1), either(value, "rejected", 2)
  if type(vpid) ~= "string" then
    return nil, ("a resolution names a promise first (got %s)"):format(type(vpid))
  end
  local args, message = M.take(either(value, "args", 3))
  if not args then return nil, message end
  return M.resolution(vpid, rejected and true or false, args)
end

return M
