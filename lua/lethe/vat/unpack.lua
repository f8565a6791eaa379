-- What came with a message or a resolution, for vats without liveslots: the values, with the names
-- of objects and promises where these stand.

local capdata = require "lethe.vat.capdata"
local marshal = require "lethe.vat.marshal"

local M = {}

--- The arguments of a message; objects and promises among them are their names.
---@param args lethe.vat.Args
---@return any ...
function M.unpack(args)
  local taken, message = capdata.take(args)
  if not taken then error(message, 2) end
  local values = marshal.decode(taken.data, taken.slots, nil, true)
  return table.unpack(values, 1, values.n)
end

return M
