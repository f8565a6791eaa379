---@meta lethe.inspect

---@class lethe.inspect.Server: lethe.Object
local Server = {}

--- The port it listens on.
---@return integer
function Server:port() end

--- Closes the port and what is connected to it.
---@return true
function Server:close() end
