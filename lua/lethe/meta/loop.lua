---@meta lethe.loop

--- Tasks on libevent. A task is a coroutine; a call that *waits* suspends the task that made
--- it; made
--- outside any task it turns the default loop until the answer is there.
---@class lethe.loop
local loop = {}

--- The loop of this Lua state.
---@return lethe.loop.Loop
function loop.default() end

---@class lethe.loop.Options
---@field clock "real"|"virtual"|nil "real" by default

--- A further loop. The clock of a virtual one moves by `advance` alone.
---@param options? lethe.loop.Options
---@return lethe.loop.Loop
function loop.new(options) end

---@class lethe.loop.Loop: lethe.Object
local Loop = {}

--- Starts `fn(...)` as a task on the next turn.
---@param fn function
---@param ... any its arguments
---@return lethe.loop.Task
function Loop:spawn(fn, ...) end

--- Turns until nothing is left to do, or until `stop`. Of a virtual loop: until nothing more is
--- due.
function Loop:run() end

--- One turn.
---@return boolean ran true if anything did
function Loop:step() end

--- Makes the `run` that is under way return after this turn.
function Loop:stop() end

--- Waits that long.
---@param seconds number
---@return true? done
---@return string? message
---@return "cancelled"? code
function Loop:sleep(seconds) end

---@class lethe.loop.TimerOptions
---@field every boolean? again and again

--- Calls `fn()` as a task after that many seconds.
---@param seconds number
---@param fn function
---@param options? lethe.loop.TimerOptions
---@return lethe.loop.Timer
function Loop:timer(seconds, fn, options) end

--- Calls `fn()` as a task whenever the process gets the signal.
---@param name "HUP"|"INT"|"QUIT"|"USR1"|"USR2"|"ALRM"|"TERM"|"CHLD"|"CONT"|"WINCH"|"PIPE"
---@param fn function
---@return lethe.loop.Watch? watch
---@return string? message
---@return string? code
function Loop:signal(name, fn) end

--- Seconds of the loop's clock: monotonic time, or a virtual loop's own.
---@return number
function Loop:now() end

--- Moves a virtual clock, running what falls due in order of due time and then of creation, also
--- what becomes due on the way.
---@param seconds number
function Loop:advance(seconds) end

--- Ends the loop: its timers and signals stop, its tasks end where they wait, running their
--- to-be-closed variables.
---@return true
function Loop:close() end

--- A task that is only collected goes on.
---@class lethe.loop.Task: lethe.Object
local Task = {}

--- Waits for the end of the task.
---@return any ... its results; or nil, message, "failed" | "cancelled"
function Task:join() end

--- The pending wait of the task, or its next one, returns nil, "cancelled", "cancelled". A task
--- that has not started never does.
---@return boolean cancelled false when it has ended already
function Task:cancel() end

--- Cancels the task; one whose handle is only collected goes on.
---@return true
function Task:close() end

--- A timer that is only collected goes on.
---@class lethe.loop.Timer: lethe.Object
local Timer = {}

--- Stops it.
---@return true
function Timer:close() end

--- A signal's watch; one that is only collected goes on.
---@class lethe.loop.Watch: lethe.Object
local Watch = {}

--- Stops it; without a watch left the signal does again what it does by default.
---@return true
function Watch:close() end

return loop
