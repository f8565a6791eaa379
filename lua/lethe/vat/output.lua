-- What vats print: a list of { vat, line } that the kernel keeps.

local M = {}

--- Adds the lines of a vat whose bounds name the list, if somebody wants them.
---@param bounds { name: string, output: table? }
---@param lines string[]
function M.add(bounds, lines)
  if not bounds.output then return end
  for _, line in ipairs(lines) do
    table.insert(bounds.output, { vat = bounds.name, line = line })
  end
end

return M
