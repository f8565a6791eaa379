-- What a vat may ask of the kernel, as lists: a call with the name of its kind first.
--
--   { "send", target, method, args, result }      { "subscribe", vpid }
--   { "resolve", { { vpid, rejected, args } } }   { "dropImports", { vref } }, and so on
--
-- This file reads what a vat hands over: everything is copied, and nothing but its form is looked
-- at. Whether the vat may do it is for lethe.vat.checker.

local capdata = require "lethe.vat.capdata"

local M = {}

-- The six names, in the order in which they are listed.
M.NAMES = { "send", "subscribe", "resolve", "dropImports", "retireImports", "retireExports" }

local read = {}

function read.send(target, method, args, result)
  if type(target) ~= "string" then return nil, "a message needs the name of a target" end
  if type(method) ~= "string" then return nil, "a message needs the name of a method" end
  if result ~= nil and type(result) ~= "string" then
    return nil, ("a result must be the name of a promise (got %s)"):format(type(result))
  end
  local taken, message = capdata.take(args)
  if not taken then return nil, message end
  return { "send", target, method, taken, result }
end

function read.subscribe(vpid)
  if type(vpid) ~= "string" then return nil, "the name of a promise expected" end
  return { "subscribe", vpid }
end

function read.resolve(resolutions)
  if type(resolutions) ~= "table" then return nil, "a list of resolutions expected" end
  local list = {}
  for i = 1, rawlen(resolutions) do
    local one, message = capdata.take_resolution(rawget(resolutions, i))
    if not one then return nil, message end
    list[i] = one
  end
  return { "resolve", list }
end

for _, name in ipairs{ "dropImports", "retireImports", "retireExports" } do
  read[name] = function(vrefs)
    local list, message = capdata.list_of_names(vrefs, "the argument")
    if not list then return nil, message end
    return { name, list }
  end
end

--- A call as a list of copies, or nil and what is wrong with its form.
---@param name string
---@return table? call
---@return string? message
function M.read(name, ...)
  local call, message = read[name](...)
  if call then return call end
  return nil, ("%s: %s"):format(name, message)
end

--- A table of the six functions, each of which calls `fn(name, ...)`.
---@param fn fun(name: string, ...)
---@return table<string, function>
function M.table(fn)
  local result = {}
  for _, name in ipairs(M.NAMES) do
    result[name] = function(...) return fn(name, ...) end
  end
  return result
end

return M
