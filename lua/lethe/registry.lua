--- Finalization registries: who has died, told at a moment that the program chooses.
--
-- A registry holds, for each registered object, something to remember it by (`held`). When the
-- collector has taken the object, `held` joins the dead-set; no code of the program runs at that
-- moment. The dead become visible in `collect` alone, always sorted, and `sweep` empties the
-- dead-set, calling `on_dead` for each. So two runs of one program see the same deaths at the same
-- places, whatever the collector did between them.
--
--   local r = registry.new{ on_dead = print }
--   r:register(object, "a name")
--   object = nil
--   r:collect()   r:sweep()
--
-- How it works: a note, an object of lethe's own, hangs on the registered one through a weak-keyed
-- table, object -> entry -> notes. It is noted dead once the entry has gone: after the object's own
-- finalizer, and only if that did not bring it back. Until `collect` such a death changes nothing
-- that can be asked: the object still counts as alive, and its registration can still be ended.

local base = require "lethe.core.base"
local check = require "lethe.check"

---@class lethe.registry
local M = {}

---@class lethe.registry.Registry
local Registry = {}
local new_registry, insides, new_note

local WEAK_KEYS <const> = { __mode = "k" }
local WEAK_VALUES <const> = { __mode = "v" }
local COLLECTABLE <const> = { table = true, userdata = true, ["function"] = true, thread = true }
local ROUNDS <const> = 200 -- of a program whose finalizers never come to rest

-- Notes are objects too, but no business of whoever asks the default registry.
local function note_counts()
  local shared = base.shared("registry")
  shared.notes = shared.notes or { made = 0, died = 0 }
  return shared.notes
end

local notes = note_counts()

-- `link` is how notes know their registry: not for its life.
local function make(on_dead)
  local of = {
    on_dead = on_dead,
    objects = setmetatable({}, WEAK_KEYS), -- object -> entry
    tokens = setmetatable({}, WEAK_KEYS), -- token -> set of notes
    found = false, -- notes that died and are not visible yet, through their `next`
    dead = {}, -- what is visible and not yet swept, each with `held`
    live = 0,
    registered = 0,
    finalized = 0,
    swept = 0,
    seen = 0, -- of the default registry: deaths of lethe objects that are visible
  }
  of.link = setmetatable({ of = of }, WEAK_VALUES)
  return of
end

-- At the safe point after a note's death. Allocates nothing, so that no death is lost.
local function note_died(note)
  notes.died = notes.died + 1
  local of = note.link.of
  if not of or not note.counted then return end
  note.next = of.found
  of.found = note
end

-- A note no longer counts as alive, nor under its token.
local function discount(of, note)
  local set = note.set
  note.counted = false
  of.live = of.live - 1
  if set then
    note.set = nil
    set[note] = nil
    if note.plain_token ~= nil and next(set) == nil then of.tokens[note.plain_token] = nil end
  end
end

-- ---- order ------------------------------------------------------------------------------------

-- Numbers before strings; strings by bytes, whatever the locale says.
local function before(a, b)
  local x, y = a.held, b.held
  local x_is_number, y_is_number = type(x) == "number", type(y) == "number"
  if x_is_number ~= y_is_number then return x_is_number end
  if x_is_number then return x < y end
  return base.less(x, y)
end

local function sorted(dead)
  local copy = table.move(dead, 1, #dead, 1, {})
  table.sort(copy, before)
  return copy
end

-- A report of the default registry may stand for several deaths.
local function helds(dead)
  local list = {}
  for _, entry in ipairs(dead) do
    for _ = 1, entry.times or 1 do
      list[#list + 1] = entry.held
    end
  end
  return list
end

-- ---- registering ------------------------------------------------------------------------------

--- A registry of this state.
---@param options { on_dead: fun(held: integer|string)? }?
---@return lethe.registry.Registry
function M.new(options)
  if options == nil then options = {} end
  base.options(options, { "on_dead" }, 2)
  return new_registry(make(check.typed(options, "on_dead", "function", 2)))
end

local function check_registration(object, held, token)
  local message = "bad argument #%d to 'register' (%s expected, got %s)"
  if not COLLECTABLE[type(object)] then
    error(message:format(1, "table, userdata, function or thread", type(object)), 3)
  end
  if math.type(held) ~= "integer" and type(held) ~= "string" then
    error(message:format(2, "integer or string", math.type(held) or type(held)), 3)
  end
  if token ~= token then error(message:format(3, "token", "nan"), 3) end
end

-- An object's entry: the handles of its notes, and a probe that tells as long as the entry is
-- there.
local function entry_of(of, object)
  local entry = of.objects[object]
  if not entry then
    entry = { handles = {} }
    entry.probe = setmetatable({ [entry] = true }, WEAK_KEYS)
    of.objects[object] = entry
  end
  return entry
end

-- Under a token, which is held weakly; so are the note's own handle and the set that it is in.
local function tie(of, note, handle, handles, token)
  local set = of.tokens[token] or {}
  note.pair = setmetatable({ handle, handles }, WEAK_VALUES)
  if not COLLECTABLE[type(token)] then note.plain_token = token end
  set[note] = true
  of.tokens[token] = set
  note.set = set
end

--- Registers an object, held weakly. Several registrations of one object all report.
---@param object table|userdata|function|thread
---@param held integer|string what the dead-set will say
---@param token any? ends this registration through unregister; held weakly
function Registry:register(object, held, token)
  local of = insides(self)
  check_registration(object, held, token)
  base.safepoint()
  local note = { link = of.link, held = held, next = false, counted = false }
  local entry = entry_of(of, object)
  local handle = new_note(note, nil, entry.probe)
  notes.made = notes.made + 1
  entry.handles[handle] = true
  if token ~= nil then tie(of, note, handle, entry.handles, token) end
  note.counted = true
  of.live = of.live + 1
  of.registered = of.registered + 1
end

--- Ends every registration with that token; true if there was one. Allocates nothing: it is done
--- whole.
---@param token any
---@return boolean
function Registry:unregister(token)
  local of = insides(self)
  base.safepoint()
  local set = token ~= nil and of.tokens[token]
  if not set then return false end
  of.tokens[token] = nil
  local any = false
  for note in pairs(set) do
    local handle, handles = note.pair[1], note.pair[2]
    note.set = nil
    if note.counted then
      discount(of, note)
      any = true
    end
    if handle and handles then handles[handle] = nil end -- it dies unheard, now or with its object
  end
  return any
end

-- ---- deaths -----------------------------------------------------------------------------------

-- Full collections until two in a row neither note a death nor free a byte: a finalizer may let
-- go of what has a finalizer of its own, and so on.
local function collect_all()
  local quiet, size = 0, nil
  for _ = 1, ROUNDS do
    local _, _, noted = base.objects()
    collectgarbage("collect")
    base.safepoint()
    local _, _, now = base.objects()
    local count = collectgarbage("count")
    quiet = now == noted and count == size and quiet + 1 or 0
    size = count
    if quiet == 2 then return end
  end
end

-- The reports of lethe objects that were collected without close.
local function take_leaks(of)
  local _, _, finalized, leaks = base.objects()
  for i, leak in ipairs(leaks) do
    of.dead[#of.dead + 1] = { held = leak[1], traceback = leak[2] }
    leaks[i] = nil
  end
  for name, times in pairs(leaks) do
    if type(name) == "string" then of.dead[#of.dead + 1] = { held = name, times = times } end
    leaks[name] = nil
  end
  of.seen = finalized - notes.died
end

--- Full collections until nothing more is due: the one place where deaths become visible.
function Registry:collect()
  local of = insides(self)
  collect_all()
  if of.is_default then take_leaks(of) end
  while of.found do
    local note = of.found
    if note.counted then
      of.dead[#of.dead + 1] = note
      discount(of, note)
      of.finalized = of.finalized + 1
    end
    of.found = note.next
  end
end

--- What has died and was not yet swept, sorted: numbers before strings, strings by bytes.
---@return (integer|string)[]
function Registry:dead()
  return helds(sorted(insides(self).dead))
end

local function tell(fn, name, entry)
  for _ = 1, entry.times or 1 do
    local ok, message = xpcall(fn, base.traceback, entry.held, entry.traceback)
    if not ok then base.report(message, { callback = name, held = entry.held }) end
  end
end

--- Empties the dead-set, calling on_dead for each; the list of what was in it, sorted. Sweeping the
--- default registry calls what lethe.on_leak set.
---@return (integer|string)[]
function Registry:sweep()
  local of = insides(self)
  base.safepoint()
  local dead = sorted(of.dead)
  local list = helds(dead)
  of.dead = {}
  of.swept = of.swept + #list
  local on_dead, name = of.on_dead, "on_dead"
  if of.is_default then
    on_dead, name = base.leak_hook(), "on_leak"
  end
  for _, entry in ipairs(on_dead and dead or {}) do
    tell(on_dead, name, entry)
  end
  return list
end

--- live and dead are current counts; registered, finalized and swept are totals. Deaths change them
--- in collect alone.
---@return { live: integer, dead: integer, registered: integer, finalized: integer, swept: integer }
function Registry:stats()
  local of = insides(self)
  base.safepoint()
  local dead = 0
  for _, entry in ipairs(of.dead) do
    dead = dead + (entry.times or 1)
  end
  local stats = {
    live = of.live,
    dead = dead,
    registered = of.registered,
    finalized = of.finalized,
    swept = of.swept,
  }
  if of.is_default then
    local live, registered, finalized = base.objects()
    local unseen = finalized - notes.died - of.seen
    stats.live = stats.live + live - (notes.made - notes.died) + unseen
    stats.registered = stats.registered + registered - notes.made
    stats.finalized = stats.finalized + of.seen
  end
  return stats
end

--- The registry of this state, in which every lethe object stands by itself: what was collected
--- without being closed is a leak that `sweep` reports.
---@return lethe.registry.Registry
function M.default()
  local shared = base.shared("registry")
  if not (shared.default and pcall(insides, shared.default)) then
    local of = make()
    of.is_default = true
    shared.default = new_registry(of)
  end
  return shared.default
end

-- A closed registry lets go of its notes; they die unheard.
new_registry, insides = base.class("registry.Registry", Registry, function(of, closed)
  if closed then
    of.link.of = nil
    of.objects = nil
  end
end, true, true, true)
new_note = base.class("registry.Note", {}, note_died)

return M
