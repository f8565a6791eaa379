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
-- How it works: a note, an object of lethe's own, is the value of a weak-keyed table under the
-- object. Its slot is noted dead when the object's entry goes - after the object's own finalizer, and
-- only if that did not bring it back.

local base = require "lethe.core.base"

---@class lethe.registry
local M = {}

---@class lethe.registry.Registry
local Registry = {}
local new_registry, insides, new_note

local WEAK_VALUES <const> = { __mode = "v" }

-- Takes a note's insides out of the books. They never refer to the note itself, which only the
-- registered object keeps alive, but for the weak pair that unregister needs.
local function detach(note)
  local of, set = note.registry, note.set
  note.registry = nil
  of.live = of.live - 1
  if set then
    set[note] = nil
    if note.plain_token ~= nil and next(set) == nil then of.tokens[note.plain_token] = nil end
  end
  return of
end

-- A note that died with its object; one that was unregistered is closed, and reports nothing.
local function note_died(note, closed)
  if closed or not note.registry then return end
  local of = detach(note)
  of.finalized = of.finalized + 1
  of.found[#of.found + 1] = { note.held }
end

local function make(on_dead)
  return {
    on_dead = on_dead,
    objects = setmetatable({}, { __mode = "k" }), -- object -> set of its notes
    tokens = setmetatable({}, { __mode = "k" }), -- token -> set of insides of notes
    found = {}, -- { held, traceback } of what died and is not visible yet
    dead = {}, -- the same, visible and not yet swept
    live = 0,
    registered = 0,
    finalized = 0,
    swept = 0,
  }
end

-- Numbers before strings; strings by bytes, whatever the locale says.
local function before(a, b)
  local number_a, number_b = math.type(a) ~= nil, math.type(b) ~= nil
  if number_a ~= number_b then return number_a end
  if number_a then return a < b end
  local n = math.min(#a, #b)
  for i = 1, n do
    local x, y = a:byte(i), b:byte(i)
    if x ~= y then return x < y end
  end
  return #a < #b
end

local function sorted(dead)
  local copy = table.move(dead, 1, #dead, 1, {})
  table.sort(copy, function(a, b) return before(a[1], b[1]) end)
  return copy
end

local function helds(dead)
  local list = {}
  for i, entry in ipairs(sorted(dead)) do
    list[i] = entry[1]
  end
  return list
end

--- A registry of this state.
---@param options { on_dead: fun(held: integer|string)? }?
---@return lethe.registry.Registry
function M.new(options)
  options = options or {}
  base.options(options, { "on_dead" }, 2)
  local on_dead = options.on_dead
  if on_dead ~= nil and type(on_dead) ~= "function" then
    error(("on_dead must be a function (got %s)"):format(type(on_dead)), 2)
  end
  return new_registry(make(on_dead))
end

local COLLECTABLE <const> = { table = true, userdata = true, ["function"] = true, thread = true }

--- Registers an object, held weakly. Several registrations of one object all report.
---@param object table|userdata|function|thread
---@param held integer|string what the dead-set will say
---@param token any? ends this registration through unregister; held weakly
function Registry:register(object, held, token)
  local of = insides(self)
  if not COLLECTABLE[type(object)] then
    error(("bad argument #1 to 'register' (something that is collected expected, got %s)"):format(type(object)), 2)
  end
  if math.type(held) ~= "integer" and type(held) ~= "string" then
    error(("bad argument #2 to 'register' (integer or string expected, got %s)"):format(type(held)), 2)
  end
  base.safepoint()
  local note = { registry = of, held = held }
  local handle = new_note(note)
  local handles = of.objects[object] or {}
  handles[handle] = true
  of.objects[object] = handles
  if token ~= nil then
    note.pair = setmetatable({ handle, handles }, WEAK_VALUES)
    note.set = of.tokens[token] or {}
    note.plain_token = not COLLECTABLE[type(token)] and token or nil
    note.set[note] = true
    of.tokens[token] = note.set
  end
  of.live = of.live + 1
  of.registered = of.registered + 1
end

--- Ends every registration with that token; true if there was one.
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
    detach(note)
    if handle then -- else it dies right now, and finds itself detached
      handles[handle] = nil
      handle:close()
    end
    any = true
  end
  return any
end

-- Full collections until two in a row bring nothing new: an object with a finalizer takes two.
local function collect_all()
  local quiet, rounds = 0, 0
  while quiet < 2 and rounds < 100 do
    local _, _, already = base.objects()
    collectgarbage("collect")
    base.safepoint()
    local _, _, now = base.objects()
    quiet = now == already and quiet + 1 or 0
    rounds = rounds + 1
  end
end

--- Full collections until nothing more is due: the one place where deaths become visible.
function Registry:collect()
  local of = insides(self)
  collect_all()
  if of.is_default then
    local _, _, _, leaks = base.objects()
    table.move(leaks, 1, #leaks, #of.dead + 1, of.dead)
    for i = #leaks, 1, -1 do
      leaks[i] = nil
    end
  end
  table.move(of.found, 1, #of.found, #of.dead + 1, of.dead)
  of.found = {}
end

--- What has died and was not yet swept, sorted: numbers before strings, strings by bytes.
---@return (integer|string)[]
function Registry:dead()
  return helds(insides(self).dead)
end

local function tell(fn, name, held, traceback)
  local ok, message = xpcall(fn, debug.traceback, held, traceback)
  if not ok then base.report(message, { callback = name, held = held }) end
end

--- Empties the dead-set, calling on_dead for each; the list of what was in it, sorted. Sweeping the
--- default registry calls what lethe.on_leak set.
---@return (integer|string)[]
function Registry:sweep()
  local of = insides(self)
  base.safepoint()
  local dead = sorted(of.dead)
  of.dead = {}
  of.swept = of.swept + #dead
  local on_dead, name = of.on_dead, "on_dead"
  if of.is_default then on_dead, name = base.leak_hook(), "on_leak" end
  if on_dead then
    for _, entry in ipairs(dead) do
      tell(on_dead, name, entry[1], entry[2])
    end
  end
  return helds(dead)
end

--- live and dead are current counts; registered, finalized and swept are totals.
---@return { live: integer, dead: integer, registered: integer, finalized: integer, swept: integer }
function Registry:stats()
  local of = insides(self)
  base.safepoint()
  local stats = {
    live = of.live,
    dead = #of.dead,
    registered = of.registered,
    finalized = of.finalized,
    swept = of.swept,
  }
  if of.is_default then
    stats.live, stats.registered, stats.finalized = base.objects()
  end
  return stats
end

--- The registry of this state, in which every lethe object stands by itself: what was collected
--- without being closed is a leak that `sweep` reports.
---@return lethe.registry.Registry
function M.default()
  local shared = base.shared("registry")
  if not shared.default then
    local of = make()
    of.is_default = true
    shared.default = new_registry(of)
  end
  return shared.default
end

new_registry, insides = base.class("registry.Registry", Registry, function() end)
new_note = base.class("registry.Note", {}, note_died)

return M
