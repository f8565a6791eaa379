---@meta lethe.quota

--- Memory quota trackers: who holds how much, and what gives memory back when it is too much.
---@class lethe.quota
local quota = {}

---@alias lethe.quota.Size integer|string bytes, or a number with a binary unit: "64K" "1.5M" "2G"

---@class lethe.quota.Options
---@field max? lethe.quota.Size|"auto" crossing it starts a pass; "auto" by the machine's memory
---@field low_water? lethe.quota.Size|"auto" down to which a pass goes; "auto" is 3/4 of max
---@field policy? lethe.quota.Policy by default "oldest"
---@field deadline? number seconds that a participant has to give memory back; by default 5
---@field loop? lethe.loop.Loop that passes run on; by default the state's own
---@field on_event? fun(event: lethe.quota.Event) called as a task, so that it may wait

---@class lethe.quota.Limits
---@field max? lethe.quota.Size|"auto"
---@field low_water? lethe.quota.Size|"auto"
---@field policy? lethe.quota.Policy
---@field deadline? number

--- A name ("oldest" "largest" "oldest_weighted" "fair_share" "priority"), the path of a file that
--- returns a function or a table, a function that scores candidates, or a table.
---@alias lethe.quota.Policy string|lethe.quota.Score|lethe.quota.PolicyTable

--- The highest score is reclaimed first, nil spares the candidate.
---@alias lethe.quota.Score fun(c: lethe.quota.Candidate): number?

---@class lethe.quota.PolicyTable
---@field score? lethe.quota.Score|string or an expression: "used * age / (1 + priority)"
---@field order? fun(list: lethe.quota.Candidate[]): lethe.quota.Candidate[]
---@field on_start? fun(tracker: lethe.quota.Tracker)
---@field on_victim? fun(c: lethe.quota.Candidate, freed: integer)
---@field on_stop? fun(tracker: lethe.quota.Tracker, outcome: lethe.quota.Outcome)
---@field degraded? boolean a second, sterner call of score before "oldest" takes over
---@field budget? integer VM instructions a pass, by default 10 million; a file's may only be less

--- Read-only.
---@class lethe.quota.Candidate
---@field account integer
---@field name string?
---@field participants integer
---@field used integer
---@field peak integer
---@field oldest number the age of its oldest data
---@field age number seconds since, when ages are clock times
---@field priority integer
---@field reserve integer
---@field limit integer? its max
---@field children_used integer
---@field tried integer times it was asked in this pass
---@field freed integer bytes that it gave in this pass
---@field reclaims integer
---@field cost number seconds per byte that its reclaims took
---@field degraded boolean whether this is the second, sterner call

---@alias lethe.quota.Level "normal"|"soft"|"high"|"critical"
---@alias lethe.quota.Reason "max"|"account"|"manual" what a pass is for
---@alias lethe.quota.Outcome "complete"|"stuck"|"manual"

---@alias lethe.quota.EventType
---| "reclaim_start" # reason, goal
---| "reclaim_stop" # reason, outcome, freed, victims, seconds
---| "victim" # account, name, freed, score, reason
---| "policy_failed" # message
---| "participant_lost" # account, name, bytes: its object was collected, or failed to tell its age
---| "over_release" # account, name, bytes: how much more than was claimed
---| "stuck" # reason, goal, top: the pass could not reach its goal
---| "reconfigured" # max, low_water
---| "pressure" # level, value
---| "collected" # what, name, account, bytes: a handle that nobody had closed
---| "not_freed" # account, name, bytes: condemned, and still there one deadline later

---@class lethe.quota.Event
---@field type lethe.quota.EventType
---@field account integer? an account's id
---@field name string? its name
---@field used integer? of the tracker, then
---@field bytes integer?
---@field freed integer?
---@field goal integer?
---@field victims integer?
---@field seconds number?
---@field score number?
---@field reason lethe.quota.Reason?
---@field outcome lethe.quota.Outcome?
---@field level lethe.quota.Level?
---@field value number? the pressure, 0 to 1
---@field message string?
---@field what string? a lethe.type
---@field max integer?
---@field low_water integer?
---@field top lethe.quota.Row[]?

---@class lethe.quota.Row what top and accounts tell of an account
---@field account integer its id
---@field name string?
---@field used integer its own bytes, without those of accounts below
---@field peak integer
---@field share number of the tracker's used
---@field oldest number? the oldest age that it told; top asks those of this state
---@field reserve integer
---@field reclaims integer times that it was a victim and stayed
---@field participants integer

---@class lethe.quota.Planned
---@field account integer
---@field participants integer of it and of all that goes with it
---@field used integer
---@field score number

---@class lethe.quota.Stats
---@field used integer
---@field peak integer
---@field max integer
---@field low_water integer
---@field untracked integer the process's resident size less what is tracked
---@field condemned integer bytes of collapsed participants that are not known to be gone
---@field accounts integer
---@field participants integer
---@field reclaims integer passes
---@field victims integer
---@field freed integer by victims
---@field policy_failures integer
---@field stuck integer passes that ended stuck
---@field stall_seconds number time in which at least one claim waited
---@field longest_hold integer participants looked at in one hold of the lock, at most
---@field longest_hold_time number seconds
---@field longest_pass number seconds

---@class lethe.quota.AccountOptions
---@field name? string
---@field max? lethe.quota.Size covers the account and all below it, exact to the byte
---@field reserve? lethe.quota.Size what no ordinary pass takes
---@field priority? integer a higher one is reclaimed later by "priority", and waits less
---@field parent? lethe.quota.Account not for `child`

---@class lethe.quota.Request
---@field goal integer bytes that the pass still needs
---@field older_than number? what is older may go before anything of the next victim's
---@field reason lethe.quota.Reason
---@field deadline number seconds

---@class lethe.quota.Participant what a program's own object has to have
---@field get_oldest fun(self: table): number? the age of its oldest data; must not wait
---@field reclaim fun(self: table, request: lethe.quota.Request): "collapsing"|"partial"|nil

---@class lethe.quota.QueueOptions
---@field account lethe.quota.Account
---@field capacity? integer values; by default none
---@field cost? fun(v: any): lethe.quota.Size bytes, to which 8 are added; by default 0
---@field loop? lethe.loop.Loop that its stamps come from; by default the tracker's

--- A new tracker.
---@param options? lethe.quota.Options
---@return lethe.quota.Tracker?
---@return string? message
---@return "bad_limits"|"bad_policy"|nil code
function quota.new(options) end

--- A tracker with which every claim succeeds and nothing is counted.
---@return lethe.quota.Tracker
function quota.noop() end

--- Puts the calling Lua state's allocator under the account, exact to the byte, beginning with what
--- the state holds. Past `limit`, or a max of the account or above, an allocation fails with Lua's
--- own "not enough memory" after an emergency collection (which Lua does not make for the buffers
--- in which library functions build long strings). It goes on until the participation is closed,
--- also when nobody keeps it; once the account was closed the state goes on uncounted, and once it
--- has collapsed in a pass the state can only shrink. A finalizer cannot begin it.
---@param account lethe.quota.Account
---@param options? { limit: lethe.quota.Size? }
---@return lethe.quota.Participation?
---@return string? message
---@return string? code "already_tracked" "over_limit" "account_closed"
function quota.track_state(account, options) end

--- A metered queue: what is in it is claimed under the account.
---@param options lethe.quota.QueueOptions
---@return lethe.quota.Sender?
---@return lethe.quota.Receiver|string
---@return "account_closed"|"tracker_shutdown"|nil code
function quota.queue(options) end

---@class lethe.quota.Tracker: lethe.Object
local Tracker = {}

--- Changes limits, policy or deadline, all or nothing; takes effect at once.
---@param options lethe.quota.Limits
---@return true?
---@return string? message
---@return "bad_limits"|"bad_policy"|nil code
function Tracker:configure(options) end

--- Bytes claimed and not released, unspent caches included.
---@return integer
function Tracker:used() end

--- A new account; with a parent its bytes count against the parent's max too.
---@param options? lethe.quota.AccountOptions
---@return lethe.quota.Account?
---@return string? message
---@return "account_closed"|"tracker_shutdown"|"other_tracker"|nil code
function Tracker:account(options) end

--- A pass now: until it freed `goal` bytes, or down to low water. Waits.
---@param goal? lethe.quota.Size
---@return integer? freed
---@return string? message
---@return "tracker_shutdown"|"cancelled"|nil code
function Tracker:reclaim(goal) end

--- What a pass for `goal` bytes would reclaim, in order; touches nothing.
---@param goal? lethe.quota.Size by default down to low water
---@return lethe.quota.Planned[]
function Tracker:plan(goal) end

--- The n largest accounts, largest first.
---@param n? integer by default 10
---@return lethe.quota.Row[]
function Tracker:top(n) end

--- 0 at low water, 1 at max, and its level.
---@return number value
---@return lethe.quota.Level level
function Tracker:pressure() end

--- All figures, a fresh table.
---@return lethe.quota.Stats
function Tracker:stats() end

--- Walks all accounts; keeps none of them alive.
---@return fun(): lethe.quota.WeakAccount?, lethe.quota.Row?
function Tracker:accounts() end

--- Audits every sum.
---@return true?
---@return string? message
---@return "broken"|nil code
function Tracker:check() end

--- Ends every account, for all holders.
---@return true
function Tracker:close() end

--- What a policy in a state of its own gets for a Tracker.
---@class lethe.quota.Reader
local Reader = {}

--- See Tracker.
---@return integer
function Reader:used() end

--- See Tracker.
---@return number value
---@return lethe.quota.Level level
function Reader:pressure() end

--- See Tracker.
---@return lethe.quota.Stats
function Reader:stats() end

---@class lethe.quota.Account: lethe.Object
local Account = {}

--- A new account below this one.
---@param options? lethe.quota.AccountOptions without `parent`
---@return lethe.quota.Account?
---@return string? message
---@return "account_closed"|"tracker_shutdown"|nil code
function Account:child(options) end

--- Makes this account a child of another one too.
---@param account lethe.quota.Account
---@return true?
---@return string? message
---@return string? code "duplicate_child" "cycle" "account_closed" "other_tracker" "over_limit"
function Account:add_parent(account) end

--- One handle more: the account ends with its last.
---@return lethe.quota.Account
function Account:clone() end

--- A reference that keeps nothing alive.
---@return lethe.quota.WeakAccount
function Account:weak() end

--- Its name, also when it has ended.
---@return string?
function Account:name() end

--- Its own bytes, without those of accounts below; 0 once it ended.
---@return integer
function Account:used() end

--- What events, plan and top call it.
---@return integer
function Account:id() end

--- The tracker that it belongs to.
---@return lethe.quota.Tracker
function Account:tracker() end

--- Makes an object a participant. Its participations keep it, unless `weak` says otherwise.
---@param obj lethe.quota.Participant
---@param options? { weak: boolean? }
---@return lethe.quota.Participation?
---@return string? message
---@return "account_closed"|"tracker_shutdown"|nil code
function Account:participant(obj, options) end

--- Registers first and makes the object after, which is asked for nothing before `fn` returned.
---@param fn fun(p: lethe.quota.Participation): lethe.quota.Participant?, string?, string?
---@return lethe.quota.Participant? obj
---@return string? message
---@return string? code
function Account:participant_with(fn) end

--- Gives this handle back: the account ends with its last.
---@return true
function Account:close() end

---@class lethe.quota.WeakAccount: lethe.Object
local WeakAccount = {}

--- A handle on the account, if it lives.
---@return lethe.quota.Account?
---@return string? message
---@return "account_closed"|"tracker_shutdown"|nil code
function WeakAccount:upgrade() end

--- The account's name.
---@return string?
function WeakAccount:name() end

--- The account's own bytes; 0 once it ended.
---@return integer
function WeakAccount:used() end

--- The account's id.
---@return integer
function WeakAccount:id() end

--- The account's tracker.
---@return lethe.quota.Tracker
function WeakAccount:tracker() end

--- Lets go of the account, which is not touched.
---@return true
function WeakAccount:close() end

---@class lethe.quota.Participation: lethe.Object
local Participation = {}

--- Claims n bytes. The tracker's max is never refused here: crossing it starts a pass.
---@param n lethe.quota.Size
---@return true?
---@return string? message
---@return string? code "tracker_shutdown" "account_closed" "participant_shutdown" "over_limit"
function Participation:claim(n) end

--- Waits for room below max instead of pushing past it: first come, first served in a priority.
---@param n lethe.quota.Size
---@param timeout? number seconds; by default for ever
---@return true?
---@return string? message
---@return string? code those of claim, "timeout", "cancelled"
function Participation:claim_wait(n, timeout) end

--- Gives n bytes back. Never fails: more than was claimed is clamped, and reported as an event.
---@param n lethe.quota.Size
function Participation:release(n) end

--- Claims n bytes and calls fn; gives them back if fn raises or returns nil.
---@param n lethe.quota.Size
---@param fn function
---@param ... any what fn gets
---@return any ... what fn returned; or nil, message, code of the claim
function Participation:try_claim(n, fn, ...) end

--- Bytes that the participant claimed and did not release, unspent caches apart.
---@return integer
function Participation:used() end

--- The account, also when it has ended.
---@return lethe.quota.WeakAccount
function Participation:account() end

--- A second handle on the participant, with a cache of its own.
---@return lethe.quota.Participation
function Participation:clone() end

--- Ends the participant: its bytes count as freed, every clone answers participant_shutdown.
function Participation:destroy() end

--- Gives its cache back, and with the last one all that the participant holds.
---@return true
function Participation:close() end

---@class lethe.quota.Sender: lethe.Object
local Sender = {}

--- Sends a value; waits while the queue is full.
---@param v any not nil
---@return true?
---@return string? message
---@return string? code "closed" "reclaimed" "over_limit" "cancelled"
function Sender:send(v) end

--- Sends a value if there is room now.
---@param v any not nil
---@return true?
---@return string? message
---@return string? code "full" "closed" "reclaimed" "over_limit"
function Sender:try_send(v) end

--- The end of what is sent: what was sent still arrives.
---@return true
function Sender:close() end

---@class lethe.quota.Receiver: lethe.Object
---@operator len: integer
local Receiver = {}

--- The next value; waits for one. What was sent before the sender closed still arrives.
---@return any
---@return string? message
---@return string? code "closed" "reclaimed" "cancelled"
function Receiver:recv() end

--- The next value, if there is one.
---@return any
---@return string? message
---@return string? code "empty" "closed" "reclaimed"
function Receiver:try_recv() end

--- Calls `fn(reason)` once the queue has collapsed, as a task; at once if it has already.
---@param fn fun(reason: "reclaimed"|"sender_closed"|"receiver_closed")
function Receiver:on_collapse(fn) end

--- Drops what was sent and gives its memory back.
---@return true
function Receiver:close() end

return quota
