---@meta lethe.vat

--- Vats: objects that talk across walls, and transcripts that replay exactly.
---@class lethe.vat
local vat = {}

-- ---- slots ------------------------------------------------------------------------------------

--- What goes with a message or an outcome: anything, and the names of the objects in it.
---@class lethe.vat.Args
---@field data any
---@field slots string[]

--- What a vat says. Lists are sorted by bytes.
---@class lethe.vat.Syscalls
---@field send fun(target: string, method: string, args: lethe.vat.Args, result: string)?
---@field subscribe fun(vpid: string)?
---@field resolve fun(resolutions: { [1]: string, [2]: boolean, [3]: lethe.vat.Args }[])?
---@field dropImports fun(vrefs: string[])?
---@field retireImports fun(vrefs: string[])?
---@field retireExports fun(vrefs: string[])?

--- What promises are, if not the plain ones of slot tables. `settle` and `follow` only take note.
---@class lethe.vat.Promises
---@field new fun(vref: string): any
---@field is fun(value: any): boolean
---@field settle fun(promise: any, rejected: boolean, value: any)
---@field follow fun(promise: any, fn: fun(rejected: boolean, value: any))

---@class lethe.vat.SlotsOptions
---@field syscall lethe.vat.Syscalls?
---@field engine "lua"|"manual"|nil "lua": Lua's own collector; "manual": one that is played
---@field root any? the root object, o+0
---@field roots table? engine "manual": what userspace holds; else all that the Lua state can reach
---@field forced boolean? engine "manual": bring_out_your_dead collects first, as "lua" always does
---@field first_export integer? 10 by default
---@field first_promise integer? 5 by default
---@field promises lethe.vat.Promises?
---@field encode (fun(value: any): lethe.vat.Args)? of outcomes that are resolved
---@field decode (fun(args: lethe.vat.Args): any)? of outcomes that are notified

--- The tables of one vat: what it imports and exports, and what is to be said of the dead.
---@param options? lethe.vat.SlotsOptions
---@return lethe.vat.Slots
function vat.slots(options) end

---@class lethe.vat.ScriptRecord
---@field i integer
---@field op table
---@field sys any[][] syscalls: { name, ... }
---@field answer any what userspace saw
---@field engine table? what was collected, or ran
---@field violations string[]?
---@field state table where every name stands

--- Runs a script of operations on one vat, a JSON line each after the header.
---@param path string
---@param options? { engine: "lua"|"manual"|nil, schedule: integer? } by default the engine that the
--- header's gc says, and a collector that stays away
---@return lethe.vat.ScriptRecord[]? log
---@return string? message
---@return "not_found"|"bad_format"|nil code
function vat.run_script(path, options) end

---@class lethe.vat.Slots: lethe.Object
local Slots = {}

--- What a name that the kernel delivers stands for: the same object as long as that lives, else a
--- new one. A promise that is new is subscribed to.
---@param vref string
---@return any presence, promise, device, or an object of the vat's own
function Slots:import(vref) end

--- Names an object that leaves the vat; it is held until the kernel drops it. A presence keeps the
--- name that it has.
---@param object any
---@return string vref
function Slots:export(object) end

--- The name of an object, a new one if it has none; nothing is held by that.
---@param object any
---@return string vref
function Slots:name(object) end

--- The object of a name, if there is one now.
---@param vref string
---@return any
function Slots:val(vref) end

--- The name of an object, if it has one.
---@param object any
---@return string?
function Slots:slot(object) end

--- Sets or tells the root object.
---@param object any
---@return any
function Slots:root(object) end

---@alias lethe.vat.State "UNKNOWN"|"REACHABLE"|"UNREACHABLE"|"COLLECTED"|"FINALIZED"

--- Where a name stands; engine "lua" cannot tell UNREACHABLE from REACHABLE.
---@param vref string
---@return lethe.vat.State
function Slots:state(vref) end

--- The kernel reaches these exports no more.
---@param vrefs string[]
function Slots:drop_exports(vrefs) end

--- The kernel forgets these exports, which it dropped before.
---@param vrefs string[]
function Slots:retire_exports(vrefs) end

--- These imports, which the vat dropped, are gone: weak collections forget them.
---@param vrefs string[]
function Slots:retire_imports(vrefs) end

--- Says through dropImports, retireImports and retireExports what has died, whatever the collector
--- did until now. With a budget it says at most so many names, and not to be done may be the
--- answer; the calls together say what one without a budget would.
---@param budget? integer
---@return boolean done
function Slots:bring_out_your_dead(budget) end

--- A map keyed by objects. Presences are keys by name: recognized, not kept.
---@return lethe.vat.WeakMap
function Slots:weak_map() end

--- A set of objects, likewise.
---@return lethe.vat.WeakSet
function Slots:weak_set() end

--- A store: a map from strings to values, which are kept as data.
---@return lethe.vat.Store
function Slots:store() end

--- A store keyed by objects, whose names it recognizes.
---@return lethe.vat.WeakStore
function Slots:weak_store() end

--- What keeps a name, a path that ends at a root; nil if nothing does.
---@param vref string
---@return string[]?
function Slots:why(vref) end

--- Which imports hang on which of the exports that the kernel reaches, and which on anything else.
--- Nothing of userspace may run meanwhile.
---@return { roots: string[], exports: table<string, string[]> }
function Slots:edges() end

--- Collects, and runs no callbacks. Engine "manual" may be told what to collect.
---@param names? string[] vrefs, and w1, w2, ... for weak collections
---@return string[] collected
function Slots:collect(names) end

--- Runs callbacks of what was collected.
---@param n? integer|"all"
---@param pick? integer which of the queue is next, from 0, modulo its length
---@return string[] ran
function Slots:finalize(n, pick) end

--- Sends a message: its names are held for the kernel, and the result is subscribed to.
---@param target string
---@param method string
---@param args lethe.vat.Args
---@return any promise
---@return string vpid
function Slots:send(target, method, args) end

--- The kernel tells outcomes.
---@param resolutions { [1]: string, [2]: boolean, [3]: lethe.vat.Args }[]
function Slots:notify(resolutions) end

--- The vat is to decide a promise of the kernel's, as `promise` turns out.
---@param vref string
---@param promise any
function Slots:decide(vref, promise) end

--- The names of promises that are not resolved.
---@return string[]
function Slots:promises() end

--- Whether the kernel decides a promise of this name.
---@param vref string
---@return boolean
function Slots:is_imported(vref) end

--- What kind of collection a value of this vat is.
---@param value any
---@return "store"|"weak_store"|"weak_map"|"weak_set"|nil
function Slots:kind(value) end

---@class lethe.vat.SlotsStats
---@field slots integer names of which anything is known
---@field bodies integer objects that are watched
---@field queued integer callbacks that wait
---@field entered integer
---@field collected integer
---@field finalized integer
---@field stale integer callbacks that had nothing to do
---@field dropped integer
---@field retired integer
---@field retired_exports integer
---@field bytes integer of the tables in C

--- Counts.
---@return lethe.vat.SlotsStats
function Slots:stats() end

--- Ends the tables: nothing is said any more.
---@return true
function Slots:close() end

---@class lethe.vat.WeakMap: lethe.Object
local WeakMap = {}

--- Lets go of everything in it.
---@return true
function WeakMap:close() end

--- Sets the value of a key.
---@param key any an object
---@param value any nil deletes
function WeakMap:set(key, value) end

--- The value of a key, or nil.
---@param key any
---@return any
function WeakMap:get(key) end

--- Whether the key has a value.
---@param key any
---@return boolean
function WeakMap:has(key) end

--- Takes a key out.
---@param key any
---@return boolean found
function WeakMap:delete(key) end

---@class lethe.vat.WeakSet: lethe.Object
local WeakSet = {}

--- Lets go of everything in it.
---@return true
function WeakSet:close() end

--- Puts a key in.
---@param key any an object
function WeakSet:add(key) end

--- Whether the key is in it.
---@param key any
---@return boolean
function WeakSet:has(key) end

--- Takes a key out.
---@param key any
---@return boolean found
function WeakSet:delete(key) end

---@class lethe.vat.Store
local Store = {}

--- Sets the value of a key.
---@param key string
---@param value any nil, a boolean, a number, a string or an object
function Store:set(key, value) end

--- The value of a key, or nil.
---@param key string
---@return any
function Store:get(key) end

--- Takes a key out.
---@param key string
---@return boolean found
function Store:delete(key) end

---@class lethe.vat.WeakStore
local WeakStore = {}

--- Sets the value of a key.
---@param key any an object; it gets a name if it has none
---@param value any
function WeakStore:set(key, value) end

--- The value of a key, or nil.
---@param key any
---@return any
function WeakStore:get(key) end

--- Whether the key is in it.
---@param key any
---@return boolean
function WeakStore:has(key) end

--- Takes a key out.
---@param key any
---@return boolean found
function WeakStore:delete(key) end

-- ---- kernels ----------------------------------------------------------------------------------

---@class lethe.vat.KernelOptions
---@field transcript? string a file for the transcript, a line of JSON for each record
---@field reap? string when a vat is due for bringOutYourDead: an expression over `deliveries` and
---`gc_krefs` since its last ("deliveries + 50*gc_krefs")
---@field reap_at? number what the expression must reach (1000)
---@field loop? lethe.loop.Loop that `await` waits on (the default one)

--- A kernel, as yet without vats.
---@param options? lethe.vat.KernelOptions
---@return lethe.vat.Kernel?
---@return string? message
---@return string? code
function vat.kernel(options) end

--- Several vats in one process, which hold each other's objects and never wait for each other. What
--- passes between them goes through the kernel, one delivery (a crank) at a time.
---@class lethe.vat.Kernel: lethe.Object
local Kernel = {}

--- What a vat's code is: a function without upvalues but _ENV; a text, a file or a module, each a
--- chunk. It is called as build(vat), `vat.name` being its name, and returns the root object, a
--- table of methods.
---@alias lethe.vat.Build function|string|{ module: string }|{ file: string }

--- The globals of a vat, beside Lua's own library; what of that shows the collector, a clock, an
--- address or the host is not there, or says something else:
---
---   pairs, next         integers, other numbers, strings by bytes, false, true, far objects as
---                       they were made so, presences by number; another key raises
---   tostring, %s, %p    numbers, given when they are first asked for
---   setmetatable        __gc and __mode are fields without a meaning
---   table.*, rawlen     find a list's end by its elements; what the operator # says of a table
---                       with holes stays Lua's, and may differ from run to run where strings or
---                       objects are keys
---   math.random         draws the same numbers in every vat
---   os, load            difftime alone; text alone
---@class lethe.vat.Environment
---@field E fun(x: any): any E(x):method(...) and E(x).method(...) send to a presence, a promise or
--- a far object; the message leaves with the crank, and a promise of its result is returned
---@field when fun(x: any, ok: function?, err: function?): any a promise of what ok or err returns
---@field promise fun(): any, function, function a promise, and what fulfils and rejects it
---@field far fun(t: table): table the same, which goes by reference from now on; others are copied
---@field weak_map fun(): lethe.vat.WeakMap
---@field weak_set fun(): lethe.vat.WeakSet
---@field print fun(...) a line for Kernel:stats().output

---@class lethe.vat.Resolution { vpid, rejected, args }, by position or by name
---@field vpid string
---@field rejected boolean
---@field args lethe.vat.Args

--- What a raw vat is told; each may be left out.
---@class lethe.vat.Callbacks
---@field deliver? fun(vref: string, method: string, args: lethe.vat.Args, result: string?)
---@field notify? fun(resolutions: lethe.vat.Resolution[])
---@field drop_exports? fun(vrefs: string[])
---@field retire_exports? fun(vrefs: string[])
---@field retire_imports? fun(vrefs: string[])
---@field bring_out_your_dead? fun()
---@field edges? fun(): { roots: string[], exports: table<string, string[]> } the imports that hang
---on each export, and those that hang on anything else; for `Kernel:cycles`

--- A vat of the program's own making, to try other ways of tracking imports. Its callbacks run in
--- this state and cannot wait.
---@param name string not yet in use
---@param setup fun(syscall: lethe.vat.Syscalls): lethe.vat.Callbacks
---@return lethe.vat.Presence root
function Kernel:raw_vat(name, setup) end

--- Sends a message. Values are copied, cycles and sharing kept; presences and promises of this
--- kernel go by reference.
---@param target lethe.vat.Presence|lethe.vat.Promise
---@param method string
---@return lethe.vat.Promise
function Kernel:send(target, method, ...) end

--- Waits for a promise, running cranks.
---@param promise lethe.vat.Promise
---@return any value
---@return string? message
---@return "rejected"|"stalled"|"cancelled"|"closed"|nil code
function Kernel:await(promise) end

--- Runs cranks: so many, or all that are due.
---@param max_cranks? integer
---@return integer cranks
function Kernel:run(max_cranks) end

--- Runs the next crank.
---@return lethe.vat.Record? crank nil when nothing is left to do
function Kernel:step() end

--- A bringOutYourDead crank for one vat; or for all, and a full collection of this state, in which
--- presences and promises that the program lost let go.
---@param name? string
---@return integer cranks
function Kernel:reap(name) end

--- Collections everywhere until nothing more is due: of this state, of every vat through
--- bringOutYourDead, and what follows from these. Messages wait.
---@return integer cranks
function Kernel:collect() end

---@class lethe.vat.Row
---@field kref string the kernel's name
---@field vref string the vat's
---@field reachable boolean
---@field recognizable boolean

--- The c-list of a vat, oldest kernel name first; empty once the vat has ended.
---@param name string
---@return lethe.vat.Row[]
function Kernel:clist(name) end

---@class lethe.vat.Member
---@field kref string
---@field vat string its owner
---@field vref string

--- Cycles of objects of several vats that nothing outside them holds. A vat that cannot say what
--- it holds (a raw vat without `edges`) counts as holding all that it imports.
---@return lethe.vat.Member[][] cliques
function Kernel:cycles() end

--- Tells the vats that nobody reaches the members; they go as the vats bring out their dead, for
--- which each is due.
---@return integer cliques
function Kernel:drop_cycles() end

--- Ends a vat, inside a crank once this is over: what it was to settle is rejected, and messages
--- to its objects fail.
---@param name string
---@return boolean ended false if it had ended before
function Kernel:terminate(name) end

---@class lethe.vat.Record
---@field vat string
---@field delivery table { kind, ... }: deliver notify dropExports retireExports retireImports
---bringOutYourDead terminate
---@field syscalls table[] { name, ... }, in order
---@field ended "meter"|"memory"|"illegal_syscall"|"terminated"|nil

--- Copies of the transcript's records, the first of which names each vat with its meter and memory.
---@return lethe.vat.Record[]
function Kernel:transcript() end

---@class lethe.vat.KernelStats
---@field cranks integer in all
---@field vats integer that live
---@field queue integer messages and notifications that wait
---@field gc_actions integer that wait
---@field objects integer known to the kernel
---@field promises integer known to the kernel
---@field handles integer presences and promises of this program
---@field imports table<string, integer> for each vat the objects of others that it can reach
---@field ended table<string, { code: string, message: string }>
---@field output { vat: string, line: string }[] what vats printed
---@field schedule table<string, integer> how often gc_schedule did each: alloc boyd mode delay
---reorder partial

---@return lethe.vat.KernelStats
function Kernel:stats() end

--- When the vats' heaps are really collected from now on: drawn from a seed, or as a function
--- answers; nil: as Lua sees fit. Whatever happens, no transcript shows it, an end for want of
--- memory apart. Before each crank the function is called with "alloc" (in the midst of some
--- allocation), "mode", "delay", "reorder" and "partial" (what the notes of finalizers do), or, for
--- a bringOutYourDead, with "boyd", "mode" and "reorder"; it answers with the word of what is to
--- happen, or nil. Raw vats live in this state: theirs is collected with its other objects.
---@param how integer|(fun(point: string): string?)|nil
function Kernel:gc_schedule(how) end

--- Counts everything anew and compares.
---@return true?
---@return string? message what is wrong
function Kernel:check() end

--- Ends the kernel and its vats.
---@return true
function Kernel:close() end

--- An object of some vat, as the program that made the kernel holds it.
---@class lethe.vat.Presence: lethe.Object
local Presence = {}

--- Lets go of it at once. One that is collected lets go in `Kernel:reap()`.
---@return true
function Presence:close() end

--- A promise of the kernel.
---@class lethe.vat.Promise: lethe.Object
local Promise = {}

---@return "pending"|"fulfilled"|"rejected"
function Promise:state() end

--- What it was fulfilled with, or the reason of its rejection; nil while it is pending.
---@return any
function Promise:value() end

--- Lets go of it at once. One that is collected lets go in `Kernel:reap()`.
---@return true
function Promise:close() end

--- The arguments that came with a message to a raw vat; objects and promises among them are their
--- names.
---@param args lethe.vat.Args
---@return any ...
function vat.unpack(args) end

-- ---- replays ----------------------------------------------------------------------------------

--- Gives each vat of a transcript its deliveries again, and compares what it asks for.
---@param records lethe.vat.Record[]|string the records, or the path of a file of them
---@param builds table<string, any> by name: what `Kernel:vat` was given; { raw = setup } for raw
---vats
---@param options? { schedule: integer|function|nil } as `Kernel:gc_schedule` takes it
---@return true?
---@return string? message
---@return "diverged"|"not_found"|"bad_format"|nil code
---@return integer? index of the first record that differs
---@return lethe.vat.Record? expected
---@return lethe.vat.Record? got nil where the vat could not run
function vat.replay(records, builds, options) end

-- ---- fuzzing ----------------------------------------------------------------------------------

---@class lethe.vat.FuzzOptions
---@field builds table<string, any> by name: what `Kernel:vat` takes; { raw = setup } for raw vats,
---{ build =, meter =, memory = } for a vat with bounds
---@field play fun(kernel: lethe.vat.Kernel, roots: table, random: fun(n: integer): integer) does
---something with a kernel; roots by name; `random(n)` gives 1..n, the same for a seed
---@field seeds integer? 100 by default
---@field schedules integer? 16 by default

--- A call that was made: a send, or another in its field `call`.
---@class lethe.vat.Send
---@field to string? the vat whose root it went to, or "n of i": what the i-th call brought forth
---@field method string?
---@field call string?
---@field args any[]

--- Plays with a new kernel for each seed, repeats what was done under so many schedules of
--- collections, and compares the transcripts. Where one differs, calls are left out as long as
--- that stays so.
---@param options lethe.vat.FuzzOptions
---@return true?
---@return string? message
---@return "diverged"|nil code
---@return { seed: integer, schedule: integer, sends: lethe.vat.Send[] }? found `schedule` is what
---`gc_schedule` takes
function vat.fuzz(options) end

return vat
