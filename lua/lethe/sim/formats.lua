-- The formats of traces, by name.

local base = require "lethe.core.base"

local NAMES <const> = { "oraclegeneral", "csv", "vscsi", "plain", "recorded" }

local M = {}

--- Why there is no such format; nil where there is.
---@param name string
---@return string?
function M.unknown(name)
  for _, known in ipairs(NAMES) do
    if known == name then return nil end
  end
  return ("unknown format %q%s"):format(name, base.hint(name, NAMES))
end

return M
