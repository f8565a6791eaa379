---@meta lethe.worker

--- Workers: OS threads, each with a Lua state and a loop of its own. Lua values are copied between
--- states as messages: nil, booleans, numbers, strings, tables of these (cycles and sharing kept,
--- metatables not; keys are strings, numbers, booleans) and engine handles (Tracker, Account,
--- Channel and the like). Anything else raises an error that names the path to it.
---@class lethe.worker
local worker = {}

---@alias lethe.worker.Run function|{ module: string }|{ file: string }

--- Starts a worker that runs `run(...)` as a task of its own default loop. A function must have no
--- upvalues but _ENV, which is the worker's. A module is required with this state's package.path
--- and cpath; it, and a file, returns the function to run. The worker ends when the function has
--- returned and its loop has nothing left to do, or when it failed.
---@param run lethe.worker.Run
---@param ... any its arguments, as messages
---@return lethe.worker.Worker? worker
---@return string? message
---@return "no_memory"|"no_thread"|nil code
function worker.spawn(run, ...) end

---@class lethe.worker.Options
---@field run lethe.worker.Run
---@field args? any[] its arguments; a field n counts them where nils are among them
---@field account? lethe.quota.Account what its state's memory is claimed under; its max is a limit
---@field memory? lethe.Size how much its state may use
---@field name? string what it is called in reports

--- The same, with limits and a name. Past a limit an allocation fails as Lua's "not enough memory".
---@param options lethe.worker.Options
---@return lethe.worker.Worker? worker
---@return string? message
---@return "no_memory"|"no_thread"|nil code
function worker.new(options) end

--- A channel, which can be sent to other workers, and received from and sent to in any.
--- It holds `capacity` messages; any number without one; with 0 a sender waits until its message is
--- taken.
---@param capacity? integer
---@return lethe.worker.Channel
function worker.channel(capacity) end

--- In a worker: the one who made it. Elsewhere nil.
---@return lethe.worker.Parent?
function worker.parent() end

--- Closing it cancels. One that is only collected goes on; when this state ends it is cancelled,
--- and waited for at most a second. A worker's own workers go on when it ends, until the state
--- that made it does, and find parent() closed; they are cancelled with it when it is cancelled.
--- An error of one that nobody joins goes to lethe.on_error.
---@class lethe.worker.Worker: lethe.Object
local Worker = {}

--- Sends it a message, which never waits.
---@param value any
---@return true? sent
---@return string? message
---@return "closed"|nil code it has ended
function Worker:send(value) end

--- The next message from it; waits. Once it has ended, and all is received: nil, message, "closed".
---@return any value
---@return string? message
---@return "closed"|"cancelled"|nil code
function Worker:recv() end

--- Waits for its end: what its function returned. Of one that failed: nil, the message with a
--- traceback, "failed"; of a cancelled one nil, message, "cancelled". Again gives the same.
---@return any ...
function Worker:join() end

--- Ends its waits at once, and raises at the next instruction of what it runs, however often that
--- is caught. To-be-closed variables are closed; while a __close runs cancellation is held back.
function Worker:cancel() end

--- The name it was made with.
---@return string?
function Worker:name() end

--- Cancels it, and lets go of it. Idempotent.
---@return true
function Worker:close() end

---@class lethe.worker.Parent: lethe.Object
local Parent = {}

--- Sends the maker a message, which never waits.
---@param value any
---@return true? sent
---@return string? message
---@return "closed"|nil code the maker's state has ended
function Parent:send(value) end

--- The next message from the maker; waits.
---@return any value
---@return string? message
---@return "closed"|"cancelled"|nil code
function Parent:recv() end

--- Lets go of it; `parent()` gives another object for it.
---@return true
function Parent:close() end

---@class lethe.worker.Channel: lethe.Object
local Channel = {}

--- Sends a message; waits while the channel is full.
---@param value any
---@return true? sent
---@return string? message
---@return "closed"|"cancelled"|nil code
function Channel:send(value) end

--- The next message; waits. Once the channel is closed and drained: nil, message, "closed".
---@return any value
---@return string? message
---@return "closed"|"cancelled"|nil code
function Channel:recv() end

--- Closes it for all holders. The object goes on: what is in the channel can still be received.
---@return true
function Channel:close() end

return worker
