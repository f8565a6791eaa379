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

--- What a scripted policy got wrong so far, three times at most: { call, message, traceback, at,
--- spent, budget }.
---@return table[]
function Replay:failures() end

-- ---- what hooks get --------------------------------------------------------------------------

--- What the hooks of an eviction policy get first: the cache, as far as a policy may see it. Fields
--- that a hook sets stay. A handle is an integer; one whose entry has left is a strike wherever it
--- is used but in `alive`.
---@class lethe.policy.Cache
local Cache = {}

--- The queue of a name, made if it is not there. An entry is in one queue at most.
---@param name string
---@return lethe.policy.Queue
function Cache:queue(name) end

--- The ghost list of a name, which remembers the last n keys that were added to it; 16 for each
--- entry that there was, and 1024, at most.
---@param name string
---@param n number
---@return lethe.policy.Ghost
function Cache:ghost(name, n) end

--- What the entry weighs: bytes where the cache is limited by these, else 1. Without a handle: what
--- is asked for and not there, in admit, full, on_evict and on_insert; nil elsewhere.
---@param h? integer
---@return integer?
function Cache:size(h) end

--- How often the entry was asked for, 1 when it came.
---@param h integer
---@return number
function Cache:freq(h) end

--- The access at which it was asked for last; in on_hit, the one before.
---@param h integer
---@return integer
function Cache:last(h) end

--- The access at which it came.
---@param h integer
---@return integer
function Cache:inserted(h) end

--- Seconds that its load took; in the simulator what the trace says, else 1.
---@param h integer
---@return number
function Cache:cost(h) end

--- Its key; without a handle that of what is asked for and not there, as in `size`.
---@param h? integer
---@return string|integer?
function Cache:key(h) end

--- The second result of `admit`, for what is asked for now: an integer, 1 for true; nil for false,
--- nil and 0.
---@return integer?
function Cache:found() end

--- Its mark, after it was set if there is a value: false, nil and 0 clear it.
---@param h integer
---@param value? any
---@return boolean
function Cache:mark(h, value) end

--- Whether the handle names an entry.
---@param h integer
---@return boolean
function Cache:alive(h) end

--- Entries.
---@return integer
function Cache:len() end

--- What the entries weigh together.
---@return integer
function Cache:used() end

--- What they may weigh.
---@return integer
function Cache:limit() end

--- Accesses so far.
---@return integer
function Cache:now() end

---@class lethe.policy.Queue
local Queue = {}

--- Puts an entry at the front, from wherever it was.
---@param h integer
function Queue:push_front(h) end

--- Puts an entry at the back, from wherever it was.
---@param h integer
function Queue:push_back(h) end

--- The same as push_front.
---@param h integer
function Queue:to_front(h) end

--- Takes an entry out; false if it was not in this queue.
---@param h integer
---@return boolean was
function Queue:remove(h) end

--- Whether an entry is in this queue.
---@param h integer
---@return boolean
function Queue:has(h) end

--- The first entry.
---@return integer? h
function Queue:front() end

--- The last entry.
---@return integer? h
function Queue:back() end

--- The entry behind this one, toward the back.
---@param h integer
---@return integer?
function Queue:next(h) end

--- The entry in front of this one.
---@param h integer
---@return integer?
function Queue:prev(h) end

--- From the hand, or the back, toward the front and around: the next entry whose mark is clear,
--- clearing marks on the way; and the hand for the next time, the entry in front of it or nil.
---@param hand? integer
---@return integer? victim
---@return integer? hand
function Queue:scan(hand) end

--- Entries in it.
---@return integer
function Queue:len() end

--- What they weigh.
---@return integer
function Queue:used() end

---@class lethe.policy.Ghost
local Ghost = {}

--- Remembers the key of an entry as the newest.
---@param h integer
function Ghost:add(h) end

--- Whether the key of an entry is remembered; without a handle the key that is asked for and not
--- there.
---@param h? integer
---@return boolean
function Ghost:has(h) end

--- Forgets the key of an entry, or of what is asked for; false if it was not remembered.
---@param h? integer
---@return boolean was
function Ghost:remove(h) end

--- Forgets the oldest key: what its entry weighed, or nil if there is none.
---@return integer? size
function Ghost:drop() end

--- Keys that it remembers.
---@return integer
function Ghost:len() end

--- What their entries weighed.
---@return integer
function Ghost:used() end
