---@meta lethe.registry

--- Finalization registries: who has died, told at a moment that the program chooses.
---@class lethe.registry
local registry = {}

---@alias lethe.registry.Held integer|string

---@class lethe.registry.Options
---@field on_dead fun(held: lethe.registry.Held)? called by `sweep` for each of the dead

--- A registry of this Lua state.
---@param options? lethe.registry.Options
---@return lethe.registry.Registry
function registry.new(options) end

--- The registry of this state in which every lethe object stands by itself, with a `held` such as
--- "quota.Account:name". Sweeping it calls what `lethe.on_leak` set.
---@return lethe.registry.Registry
function registry.default() end

---@class lethe.registry.Registry: lethe.Object
local Registry = {}

--- Registers an object, held weakly. Several registrations of one object all report.
---@param object table|userdata|function|thread
---@param held lethe.registry.Held what the dead-set will say
---@param token? any ends the registration through `unregister`; held weakly, may be the object
function Registry:register(object, held, token) end

--- Ends every registration with that token.
---@param token any
---@return boolean found
function Registry:unregister(token) end

--- Full collections until nothing more is due: the one place where deaths become visible.
function Registry:collect() end

--- What has died and was not yet swept: numbers before strings, strings by bytes.
---@return lethe.registry.Held[]
function Registry:dead() end

--- Empties the dead-set, calling on_dead for each.
---@return lethe.registry.Held[] swept sorted as in `dead`
function Registry:sweep() end

---@class lethe.registry.Stats
---@field live integer registered and alive now
---@field dead integer visible and not yet swept now
---@field registered integer in all
---@field finalized integer in all
---@field swept integer in all

---@return lethe.registry.Stats
function Registry:stats() end

--- Ends the registry: nothing that it holds is reported any more.
---@return true
function Registry:close() end

return registry
