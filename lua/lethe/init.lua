--- lethe: memory-reclamation engines for Lua.
--
-- `require "lethe"` gives a table whose fields are the modules; each loads when it is first used,
-- so `lethe.quota` is `require "lethe.quota"`. Beside them stand the few functions that concern
-- every module: what a value is, and where errors and leaks are reported.

local base = require "lethe.core.base"

---@class lethe
---@field backend lethe.backend
---@field cache lethe.cache
---@field epoch lethe.epoch
---@field inspect lethe.inspect
---@field quota lethe.quota
---@field loop lethe.loop
---@field policy lethe.policy
---@field registry lethe.registry
---@field shared lethe.shared
---@field sim lethe.sim
---@field spec lethe.spec
---@field vat lethe.vat
---@field weakmap lethe.weakmap
---@field worker lethe.worker
local M = { _VERSION = base.version }

local MODULES <const> = {
  backend = true, cache = true, epoch = true, inspect = true, loop = true, policy = true,
  quota = true, registry = true, shared = true, sim = true, spec = true, vat = true, weakmap = true,
  worker = true,
}

--- The lethe type of a value, such as "quota.Tracker"; nil for what is not lethe's.
---@param value any
---@return string?
function M.type(value)
  return base.type(value)
end

--- Who hears of errors in callbacks and tasks: `fn(message, details)`. nil restores the default, a
--- line on stderr. Returns the function before.
---@type fun(fn: fun(message: string, details: table)?): function?
M.on_error = base.on_error

--- Who hears, in `registry.default():sweep()`, of lethe objects that were collected without being
--- closed: `fn(held, traceback)`; tracebacks are kept with LETHE_DEBUG=1. Returns the function
--- before.
---@type fun(fn: fun(held: string, traceback: string?)?): function?
M.on_leak = base.on_leak

return setmetatable(M, {
  __index = function(_, name)
    if not MODULES[name] then return nil end
    local module = require("lethe." .. name)
    rawset(M, name, module)
    return module
  end,
})
