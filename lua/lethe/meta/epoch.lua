---@meta lethe.epoch

--- Epoch managers after DEBRA+: objects are freed when no reader can still hold them; readers that
--- sleep are ejected, so that what waits to be freed is bounded.
---@class lethe.epoch
local epoch = {}

---@class lethe.epoch.Options
---@field max_threads integer? 64 by default; records of tasks that wait while pinned do not count
---@field mode "auto"|"manual"|nil "auto" by default
---@field bag_size integer? objects that are freed together; 256, in manual mode 64
---@field max_limbo lethe.Size? bytes of one thread past which whoever is in the way is ejected
---@field account lethe.quota.Account? what limbo bytes are charged to

--- A new manager.
---@param options? lethe.epoch.Options
---@return lethe.epoch.Manager? manager
---@return string? message
---@return "account_closed"|"tracker_shutdown"|nil code
function epoch.new(options) end

--- May be sent to other workers.
---@class lethe.epoch.Manager: lethe.Object
local Manager = {}

--- This thread's handle. A record that calls on shared structures took is taken over.
---@return lethe.epoch.Handle? handle
---@return string? message
---@return "full"|"already_registered"|"closed"|nil code
function Manager:register() end

--- One epoch on: in manual mode always, in auto mode if every pinned thread is at the current one.
---@return integer epoch the one after
function Manager:advance() end

--- The current epoch; the first is 1.
---@return integer
function Manager:epoch() end

--- The least epoch that a pinned, not neutralized thread shows, else the epoch.
---@return integer
function Manager:safe_epoch() end

--- Ejects those pinned more than `lag` epochs ago, never the calling coroutine.
---@param lag? integer 2 by default
---@return integer count
function Manager:neutralize(lag) end

--- Seals what this thread has retired and frees what is safe by now.
---@return integer count of objects freed
function Manager:flush() end

--- Waits until all that was retired before is freed, and its destructors have run, each in its own
--- state at a safe point of that one. Ejects nobody; without a timeout it raises in a coroutine
--- that is pinned itself.
---@param timeout? number seconds
---@return true? done
---@return string? message
---@return "timeout"|"cancelled"|"closed"|nil code
function Manager:barrier(timeout) end

--- A cookie for all that was retired so far.
---@return integer cookie
function Manager:start_poll() end

--- Whether all from before the cookie can be freed.
---@param cookie integer
---@return boolean
function Manager:poll(cookie) end

---@class lethe.epoch.Thread
---@field pinned boolean
---@field epoch integer of its pin, 0 if it has none
---@field limbo integer objects
---@field limbo_bytes integer
---@field peak integer objects
---@field neutralized boolean
---@field pinned_for number seconds since somebody first saw the pin

---@class lethe.epoch.Stats
---@field epoch integer
---@field safe_epoch integer
---@field threads lethe.epoch.Thread[]
---@field retired integer in all
---@field reclaimed integer in all
---@field limbo integer objects that wait to be freed, orphans too
---@field limbo_bytes integer
---@field orphans integer objects of threads that left
---@field advances integer
---@field ejections integer

---@return lethe.epoch.Stats
function Manager:stats() end

--- Closes it for all holders: nobody registers any more, live handles work on, and what is in limbo
--- is freed when the last of them leaves.
---@return true
function Manager:close() end

--- Belongs to the state that registered.
---@class lethe.epoch.Handle: lethe.Object
local Handle = {}

--- Pins, for the calling coroutine. Pins nest; each level has one Guard, which is used again.
---@return lethe.epoch.Guard
function Handle:pin() end

--- Calls `fn(guard, ...)` pinned and unpins whatever happens. If it was neutralized before it
--- retired or changed anything it is run again, at most 8 times.
---@param fn fun(guard: lethe.epoch.Guard, ...: any): any
---@param ... any
---@return any ... what fn returned, or nil, message, "neutralized"
function Handle:with_pin(fn, ...) end

--- Has the destructor called with the value, once, later, in this state. Raises unless pinned.
--- Without a destructor it only counts.
---@generic T
---@param value T
---@param destructor? fun(value: T)
---@param bytes? lethe.Size 0 by default
---@return true
function Handle:retire(value, destructor, bytes) end

--- Frees what this thread retired before the safe epoch less one; the destructors have run when it
--- returns.
---@return integer? count
---@return string? message
---@return "blocked"? code the safe epoch is 1
function Handle:reclaim() end

--- A reclaim step by step: `load_epochs`, `check_safe`, `try_reclaim`, each once, in this order.
---@return lethe.epoch.Reclaim
function Handle:reclaim_start() end

--- Advances on every n-th call, and says so.
---@param n integer from 1
---@return boolean advanced
function Handle:advance_every(n) end

--- Whether the calling coroutine is pinned.
---@return boolean
function Handle:pinned() end

--- Whether the calling coroutine's pin was neutralized.
---@return boolean
function Handle:neutralized() end

--- Objects that this thread has retired and that wait.
---@return integer
function Handle:limbo() end

--- Unpins and leaves. What waits is freed by whoever reclaims next, the destructors of Lua values
--- by their own state.
---@return true
function Handle:unregister() end

--- The same.
---@return true
function Handle:close() end

--- One level of a coroutine's pins.
---@class lethe.epoch.Guard: lethe.Object
local Guard = {}

--- Ends the pin. Raises for one that is not pinned, for another coroutine's, and for an outer one
--- while an inner one is pinned.
---@return true? sound
---@return string? message
---@return "neutralized"? code what was read under it may be out of date
function Guard:unpin() end

--- Unpins if it is pinned.
---@return true
function Guard:close() end

--- Shows the current epoch, for long loops, and ends an ejection.
---@return true
function Guard:repin() end

--- As `Handle:retire`.
---@generic T
---@param value T
---@param destructor? fun(value: T)
---@param bytes? lethe.Size
---@return true
function Guard:retire(value, destructor, bytes) end

---@class lethe.epoch.Reclaim: lethe.Object
local Reclaim = {}

--- Reads the epoch of every pinned thread.
---@return lethe.epoch.Loaded
function Reclaim:load_epochs() end

--- Gives the step up.
---@return true
function Reclaim:close() end

---@class lethe.epoch.Loaded: lethe.Object
local Loaded = {}

--- The least of the epochs that were read, or the manager's.
---@return integer
function Loaded:safe_epoch() end

--- Blocked while the safe epoch is 1.
---@return "ready"|"blocked"
---@return lethe.epoch.Ready?
function Loaded:check_safe() end

--- Gives the step up.
---@return true
function Loaded:close() end

---@class lethe.epoch.Ready: lethe.Object
local Ready = {}

--- Frees what this thread retired before the safe epoch less one.
---@return integer count
function Ready:try_reclaim() end

--- Gives the step up.
---@return true
function Ready:close() end

return epoch
