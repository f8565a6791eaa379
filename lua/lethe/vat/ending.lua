-- How a vat ends: by its own doing, or because the program says so.
--
-- What it was to settle is rejected, oldest first; its objects have no owner any more, and messages
-- to them fail (R38); what it held it holds no longer. Nobody else is harmed, and its name stays
-- taken.

local promises = require "lethe.vat.promises"

local M = {}

local function leave(k, vat, entry)
  local counts = k.counts
  if entry.kind == "p" then
    if entry.decides then
      promises.reject(k, entry.kref, ("vat %s has ended (%s)"):format(vat.name, vat.ended))
    end
    counts:sub(entry.kref)
  elseif entry.mine then
    counts.objects[entry.kref].owner = nil
    counts:change(entry.kref, 0, 0)
  else
    counts:change(entry.kref, entry.reachable and -1 or 0, -1)
  end
end

--- Ends a vat.
---@param vat table
---@param code "meter"|"memory"|"illegal_syscall"|"terminated"
---@param message string
function M.terminate(k, vat, code, message)
  vat.ended = code
  k.ended[vat.name] = { code = code, message = message }
  k.vats[vat.name] = nil
  for i, each in ipairs(k.living) do
    if each == vat then table.remove(k.living, i) end
  end
  for _, entry in ipairs(vat.clist:entries()) do
    vat.clist:remove(entry)
    leave(k, vat, entry)
  end
  k.actions[vat.name] = nil
  k.counts:sub(vat.root) -- the kernel's own hold on it
  vat.driver:close()
end

return M
