---@meta lethe.weakmap

--- Maps that do not keep their values, and ephemerons, which do not keep their keys.
---@class lethe.weakmap
local weakmap = {}

---@alias lethe.weakmap.Key number|string
---@alias lethe.weakmap.Value table|userdata|function|thread

---@class lethe.weakmap.Options
---@field ordered boolean? by key (a B-tree, the default); false: a hash index, less the calls that
--- need an order
---@field ops_threshold integer? after this many mutations, or as many as there are entries if that
--- is more, the map looks for entries whose values the collector has taken; 1000 by default
---@field on_dead fun(key: lethe.weakmap.Key)? called once for each entry whose value has died, from
--- a loop's turn or from `cleanup`; not for what was removed, replaced or cleared

--- A weak map. An object of lethe's leaves it when it is closed, any other value when the collector
--- takes it.
---@param options? lethe.weakmap.Options
---@return lethe.weakmap.WeakMap
function weakmap.new(options) end

--- A map with weak keys, in which a value that refers to its own key does not keep it. Values of
--- lethe objects are kept with them, where a collection passes each once; those of other keys stand
--- in one of Lua's weak-keyed tables, where chains cost the square of their length.
---@return lethe.weakmap.Ephemeron
function weakmap.ephemeron() end

--- What weak and strong maps have in common. Keys are all numbers or all strings, as the first one
--- was, until `clear`. Numbers compare by value, strings by bytes. `#map` is `map:len()`;
--- `pairs(map)` goes over live entries, in key order if the map is ordered, and no mutation on the
--- way disturbs it; `a == b` is true for maps with the same keys and identical live values.
---@class lethe.weakmap.WeakMap: lethe.Object
---@operator len: integer
local WeakMap = {}

--- The value under the key from now on. An equal key that was there is replaced by this one.
---@param key lethe.weakmap.Key
---@param value lethe.weakmap.Value
---@return lethe.weakmap.Value? old what was there
function WeakMap:insert(key, value) end

---@param key lethe.weakmap.Key
---@return lethe.weakmap.Value? value
function WeakMap:get(key) end

--- Whether get would find something.
---@param key lethe.weakmap.Key
---@return boolean
function WeakMap:contains(key) end

---@param key lethe.weakmap.Key
---@return lethe.weakmap.Value? old what was there
function WeakMap:remove(key) end

--- Takes all entries out; keys of the other kind may follow.
function WeakMap:clear() end

--- The value under the key; if there is none, what the function makes, which is inserted unless it
--- has put one itself.
---@param key lethe.weakmap.Key
---@param create fun(key: lethe.weakmap.Key): lethe.weakmap.Value
---@return lethe.weakmap.Value value
---@return boolean created
function WeakMap:get_or_create(key, create) end

--- How many live entries there are.
---@return integer
function WeakMap:len() end

--- How many entries there are, those included whose values are dead and not yet noticed: between a
--- collection and its last finalizers it may be more than len.
---@return integer
function WeakMap:raw_len() end

--- Takes out what is dead and calls on_dead for it.
---@return integer removed
function WeakMap:cleanup() end

--- Keeps the entries for which the function returns true.
---@param keep fun(key: lethe.weakmap.Key, value: lethe.weakmap.Value): boolean
function WeakMap:retain(keep) end

--- Mutations since the map last looked for dead entries.
---@return integer
function WeakMap:ops() end

--- The live entries from lo to hi, both included; nil is open. Of ordered maps.
---@param lo lethe.weakmap.Key?
---@param hi lethe.weakmap.Key?
---@return fun(): lethe.weakmap.Key?, lethe.weakmap.Value?
function WeakMap:range(lo, hi) end

--- The same, from the greatest to the least.
---@param hi lethe.weakmap.Key?
---@param lo lethe.weakmap.Key?
---@return fun(): lethe.weakmap.Key?, lethe.weakmap.Value?
function WeakMap:range_down(hi, lo) end

--- The least key and its value. Of ordered maps.
---@return lethe.weakmap.Key? key
---@return lethe.weakmap.Value? value
function WeakMap:first() end

--- The greatest key and its value. Of ordered maps.
---@return lethe.weakmap.Key? key
---@return lethe.weakmap.Value? value
function WeakMap:last() end

--- Removes the least key.
---@return lethe.weakmap.Key? key
---@return lethe.weakmap.Value? value
function WeakMap:pop_first() end

--- Removes the greatest key.
---@return lethe.weakmap.Key? key
---@return lethe.weakmap.Value? value
function WeakMap:pop_last() end

--- Moves the entries from the key on to a new map of the same kind, with the same on_dead.
---@param key lethe.weakmap.Key
---@return lethe.weakmap.WeakMap
function WeakMap:split_off(key) end

--- Moves all entries of another map of the same kind here; where both have a key the other's value
--- wins.
---@param other lethe.weakmap.WeakMap
function WeakMap:append(other) end

--- The live keys, in the order of pairs.
---@return lethe.weakmap.Key[]
function WeakMap:keys() end

--- The live values, in the order of pairs.
---@return lethe.weakmap.Value[]
function WeakMap:values() end

--- The live entries in a map that holds its values.
---@return lethe.weakmap.StrongMap
function WeakMap:upgrade() end

--- Ends the map; what died and was not told yet is not told any more.
---@return true
function WeakMap:close() end

--- A map with the calls of a weak one that holds its values.
---@class lethe.weakmap.StrongMap: lethe.weakmap.WeakMap
local StrongMap = {}

--- The same entries in a weak map.
---@return lethe.weakmap.WeakMap
function StrongMap:downgrade() end

---@class lethe.weakmap.Ephemeron: lethe.Object
---@operator len: integer
local Ephemeron = {}

--- The value of a key.
---@param key any
---@return any value
function Ephemeron:get(key) end

--- Sets the value of a key; nil removes it.
---@param key lethe.weakmap.Value
---@param value any
function Ephemeron:set(key, value) end

--- Removes a key.
---@param key any
---@return any old the value that it had
function Ephemeron:remove(key) end

--- How many live keys there are.
---@return integer
function Ephemeron:len() end

--- Ends it, and with it what it keeps with its keys.
---@return true
function Ephemeron:close() end

return weakmap
