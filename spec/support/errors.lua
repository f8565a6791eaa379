-- What errors say and where they point.
local M = {}

---The message of the error that `fn` raises, without its position, if that is the very line of
---`fn`: write it on one line. Else with its position, or what came instead.
---@param fn function
---@return string message
function M.at_its_line(fn)
  local ok, err = pcall(fn)
  if ok then return "no error" end
  local where <const> = debug.getinfo(fn, "S")
  local position <const> = ("%s:%d: "):format(where.short_src, where.linedefined)
  if type(err) ~= "string" or err:sub(1, #position) ~= position then
    return ("not at %s%s"):format(position, tostring(err))
  end
  return err:sub(#position + 1)
end

---The code of what a call returned: nil, message, code.
---@return string? code
function M.code_of(_, _, code)
  return code
end

---Calls `fn` while lethe.on_error collects what is reported.
---@param fn function
---@return { message: string, details: table }[]
function M.reported(fn)
  local lethe <const> = require "lethe"
  local list = {}
  local before = lethe.on_error(function(message, details)
    list[#list + 1] = { message = message, details = details }
  end)
  local ok, err = pcall(fn)
  lethe.on_error(before)
  if not ok then error(err, 0) end
  return list
end

return M
