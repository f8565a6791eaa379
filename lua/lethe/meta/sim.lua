---@meta lethe.sim

--- Recorded or made-up requests. It never changes, and may be sent to other workers.
---@class lethe.sim.Trace: lethe.Object
---@operator len: integer
local Trace = {}

--- How many requests it has. Records of size 0 are none.
---@return integer
function Trace:len() end

--- How many different ids.
---@return integer
function Trace:objects() end

--- The footprint: the sizes of all objects, as they were when each came first.
---@return integer
function Trace:bytes() end

--- requests, objects, bytes (the footprint), requested (the bytes of all requests), skipped
--- (records of size 0) and format ("synthetic" for one that was made up).
---@return table<string, integer|string>
function Trace:stats() end

--- Walks over all requests: seconds, id, size, the number of the request that asks for the same id
--- next (-1: none), cost.
---@return fun(): number?, integer?, integer?, integer?, number?
function Trace:requests() end

--- Writes it in the format oracleGeneral, which has whole seconds.
---@param path string
---@return true?
---@return string? message
---@return string? code "unwritable" | "bad_format" for a size that does not fit
function Trace:save(path) end

--- Ends it. A second time nothing happens.
---@return true
function Trace:close() end

--- Writes down what a cache or a tracker sees.
---@class lethe.sim.Recorder: lethe.Object
local Recorder = {}

--- Requests so far.
---@return integer
function Recorder:count() end

--- Ends it: the trace is whole. A second time nothing happens.
---@return true?
---@return string? message
---@return string? code "unwritable"
function Recorder:close() end
