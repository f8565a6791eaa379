---@meta lethe.shared

--- Structures that workers share. Every call registers the thread with the manager by itself,
--- and pins by
--- itself: inside a guard that was neutralized it answers nil, message, "neutralized"; in a manager
--- without a free record nil, message, "full".

---@class lethe.shared.Map: lethe.Object
---@operator len: integer
local Map = {}

---@return true
function Map:close() end

--- A copy of the value; nil if the key is not there.
---@param key string|integer
---@return any
function Map:get(key) end

--- Sets the value; nil deletes the key.
---@param key string|integer
---@param value boolean|number|string|table|nil
---@return true?
---@return string? message
---@return string? code "full" | "neutralized"
function Map:set(key, value) end

--- Sets the value of a key that is not there yet.
---@param key string|integer
---@param value boolean|number|string|table
---@return true?
---@return string? message
---@return string? code "exists" | "full" | "neutralized"
function Map:add(key, value) end

--- Whether the key was there.
---@param key string|integer
---@return boolean?
function Map:delete(key) end

--- Puts `new` in the place of `old`, if that is what is there; nil is absence, on either side.
--- `old` is no table.
---@param key string|integer
---@param old boolean|number|string|nil
---@param new boolean|number|string|table|nil
---@return boolean?
function Map:cas(key, old, new) end

--- Adds n to the number there; an absent key becomes init + n.
---@param key string|integer
---@param n number
---@param init number?
---@return number?
---@return string? message
---@return string? code "not_found" | "not_a_number" | "full" | "neutralized"
function Map:incr(key, n, init) end

--- How many keys there are.
---@return integer
function Map:len() end

---@class lethe.shared.Queue: lethe.Object
local Queue = {}

---@return true
function Queue:close() end

---@param value boolean|number|string|table
---@return true?
---@return string? message
---@return string? code "full" | "neutralized"
function Queue:push(value) end

---@return any?
---@return string? message
---@return string? code "empty" | "full" | "neutralized"
function Queue:pop() end

---@class lethe.shared.Stack: lethe.Object
local Stack = {}

---@return true
function Stack:close() end

---@param value boolean|number|string|table
---@return true?
---@return string? message
---@return string? code "full" | "neutralized"
function Stack:push(value) end

---@return any?
---@return string? message
---@return string? code "empty" | "full" | "neutralized"
function Stack:pop() end
