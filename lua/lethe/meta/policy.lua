---@meta lethe.policy

--- The text of a policy, as `policy.load` read it: a policy for whatever takes one.
---@class lethe.policy.Text: lethe.Object
local Text = {}

--- The file's name, without folders.
---@return string
function Text:name() end

--- Lets go of the text; what uses it already goes on. A second time nothing happens.
---@return true
function Text:close() end

--- A simulated cache: keys and sizes alone. A size stays what it was when its key came; what a
--- policy has no place for is a miss each time.
---@class lethe.policy.Replay: lethe.Object
local Replay = {}

--- One request: whether it found its key.
---@param id integer
---@param size? integer 1 unless told
---@param next? integer 1 + the index of the next request of that id, which "belady" wants; -1: none
---@return boolean? hit
---@return string? message
---@return string? code "no_memory"
function Replay:access(id, size, next) end

--- Records of an oracleGeneral trace, 24 bytes each; those of size 0 are skipped.
---@param records string
---@return true?
---@return string? message
---@return string? code "no_memory"
function Replay:run(records) end

--- Another limit: what is too much leaves.
---@param limit integer entries or bytes
---@return true
function Replay:resize(limit) end

--- What was counted so far (requests, misses, bytes, missed: those of misses), and what the cache
--- would hold now (entries, used, limit).
---@return table<string, integer>
function Replay:stats() end

--- Audits the policy's structures.
---@return true?
---@return string? message
---@return string? code "broken"
function Replay:check() end

--- Ends it. A second time nothing happens.
---@return true
function Replay:close() end
