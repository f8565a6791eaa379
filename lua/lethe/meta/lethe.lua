---@meta lethe

--- `require "lethe"`: the modules, each loaded when its field is first used, and what concerns all
--- of them.
---
--- Conventions. A failure that a correct program can meet returns nil, a message for people and a
--- stable lower-case code. Misuse raises. Sizes are integers of bytes or strings with a binary unit
--- ("64K", "1.5M", "2G"), times are seconds.
---@class lethe
---@field _VERSION string "lethe 0.1.0"
---@field quota lethe.quota
---@field loop lethe.loop
---@field registry lethe.registry
---@field spec lethe.spec
---@field vat lethe.vat
local lethe = {}

---@alias lethe.Size integer|string

--- Every object of lethe: closed by `close`, by a `<close>` variable, and at the safe point after
--- the collector took it.
---@class lethe.Object
local Object = {}

--- Ends the object now. Idempotent. Methods of a closed object raise.
---@return true
function Object:close() end

--- The lethe type of a value, such as "quota.Tracker"; nil for what is not lethe's.
---@param value any
---@return string?
function lethe.type(value) end

--- Who hears of errors in callbacks and in tasks that nobody joins; without one they are lines on
--- stderr.
---@param fn? fun(message: string, details: table)
---@return function? before the function that was set before
function lethe.on_error(fn) end

--- Who hears, in `registry.default():sweep()`, of lethe objects that were collected without being
--- closed. The traceback says where the object was made, with LETHE_DEBUG=1 in the environment.
---@param fn? fun(held: string, traceback: string?)
---@return function? before the function that was set before
function lethe.on_leak(fn) end

return lethe
