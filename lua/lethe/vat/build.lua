-- What a vat is built of, and what drives it: callbacks of the host's, or a Lua state of its own.

local raw = require "lethe.vat.raw"
local supervisor = require "lethe.vat.supervisor"

local M = {}

--- Whether it is { raw = setup }, a raw vat where builds are listed by name.
---@param how any
---@return boolean
function M.is_raw(how)
  return type(how) == "table" and how.raw ~= nil
end

--- The driver of a vat. Raises at `level` for what is no build.
---@param how any what Kernel:vat takes, or { raw = setup }
---@param bounds { name: string, meter: integer?, memory: integer? }
---@param syscall table<string, function>
---@param level integer
---@return table driver
function M.driver(how, bounds, syscall, level)
  if not M.is_raw(how) then
    local driver = supervisor.new(how, bounds, syscall, level + 1)
    return driver -- no tail call: levels count frames
  end
  if type(how.raw) ~= "function" then
    error(("raw must be a function (got %s)"):format(type(how.raw)), level + 1)
  end
  local driver = raw.new(how.raw, syscall, level + 1)
  return driver
end

return M
