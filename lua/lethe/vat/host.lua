-- The host's side of a kernel: what the program that made it holds of its objects and promises.
--
-- A Presence stands for an object of some vat, a Promise for a promise; each counts as one that
-- holds it. Closing one lets go at once. One that the collector took lets go in `Kernel:reap()`:
-- there the host's heap is collected in full, as a vat's is in bringOutYourDead, so that what the
-- vats hear does not depend on when the collector ran.

local base = require "lethe.core.base"
local gc_actions = require "lethe.vat.gc_actions"
local marshal = require "lethe.vat.marshal"
local promises = require "lethe.vat.promises"

local M = {}

---@class lethe.vat.Presence
local Presence = {}
---@class lethe.vat.Promise
local Promise = {}
local new_presence, presence_of, new_promise, promise_of

local KINDS <const> = { o = "vat.Presence", p = "vat.Promise" }

-- ---- handles ----------------------------------------------------------------------------------

local function let_go(handle)
  local k, kref = handle.k, handle.kref
  if k.closed or not handle.counted then return end
  local handles = k.handles
  k.counts:sub(kref)
  handles.open = handles.open - 1
  handles.held[kref] = handles.held[kref] > 1 and handles.held[kref] - 1 or nil
end

-- The end of a handle: closed, or dead.
local function ended(handle, closed)
  local k = handle.k
  if not closed then
    k.handles.dead[#k.handles.dead + 1] = handle
    return
  end
  if k.recording then k.recording:closed(handle) end
  let_go(handle)
  if not k.crank and not k.closed then gc_actions.settle(k) end
end

--- What a kernel keeps of its host's handles.
---@return table
function M.new()
  return {
    by_kref = setmetatable({}, { __mode = "v" }), -- those that a program may still have
    held = {}, open = 0, -- how many hold each kref, and all in all
    dead = {}, -- collected, and not yet let go
    kept = nil,
  }
end

--- The host's handle for this kref; the same as long as there is one.
---@param kref string
---@return lethe.vat.Presence|lethe.vat.Promise
function M.handle(k, kref)
  local handles = k.handles
  local handle = handles.by_kref[kref]
  if handle and base.open(handle) then return handle end
  local inside = { k = k, kref = kref, counted = false }
  handle = (kref:byte(2) == 112 and new_promise or new_presence)(inside)
  handles.held[kref] = handles.held[kref] or 0
  handles.by_kref[kref] = handle
  handles.held[kref] = handles.held[kref] + 1 -- from here on nothing needs memory
  handles.open = handles.open + 1
  k.counts:add(kref)
  inside.counted = true
  if handles.kept then table.insert(handles.kept, handle) end
  if k.recording then k.recording:made(handle) end
  return handle
end

--- Collects the host's heap, and lets go of what died there.
function M.collect(k)
  local handles = k.handles
  if handles.kept or handles.open == 0 then return end
  repeat
    collectgarbage()
    base.safepoint()
    local dead = handles.dead
    handles.dead = {}
    for _, handle in ipairs(dead) do
      let_go(handle)
    end
  until not dead[1]
  gc_actions.settle(k)
end

-- ---- values -----------------------------------------------------------------------------------

--- What stands for an open handle as long as that lives, and when it ends; nil for any other value.
---@param value any
---@return table?
function M.key(value)
  local class = base.type(value)
  if class ~= KINDS.o and class ~= KINDS.p or not base.open(value) then return nil end
  return (class == KINDS.o and presence_of or promise_of)(value)
end

--- The kref of an open handle of this kernel; nil for any other value.
---@param value any
---@param kind "o"|"p"|nil
---@return string?
function M.kref(k, value, kind)
  local handle = M.key(value)
  if not handle or handle.k ~= k then return nil end
  return (not kind or handle.kref:sub(2, 2) == kind) and handle.kref or nil
end

--- The arguments of a message; raises, without a position, for what cannot be sent.
---@param values table with `n`
---@return string data
---@return string[] slots
function M.encode(k, values)
  return marshal.encode(values, function(value)
    local kref = M.kref(k, value)
    if kref then return kref end
    local class = base.type(value)
    if class == KINDS.o or class == KINDS.p then
      error(base.open(value) and ("a lethe.%s of another kernel"):format(class)
        or ("a closed lethe.%s"):format(class), 0)
    end
  end, "argument")
end

--- What a settled promise was settled with.
---@param args table
---@return any
function M.value(k, args)
  return marshal.decode(args.data, args.slots, function(kref) return M.handle(k, kref) end)[1]
end

-- ---- methods ----------------------------------------------------------------------------------

local function promise(handle)
  if handle.k.closed then error("attempt to use a closed lethe.vat.Kernel", 3) end
  return promises.last(handle.k, handle.k.counts.promises[handle.kref]), handle.k
end

--- How it stands.
---@return "pending"|"fulfilled"|"rejected"
function Promise:state()
  return promise(promise_of(self)).state
end

--- What it was fulfilled with, or the reason of its rejection; nil while it is pending.
---@return any
function Promise:value()
  local it, k = promise(promise_of(self))
  if it.state == "pending" then return nil end
  if k.recording then k.recording:call("value", self) end
  return M.value(k, it.args)
end

function Promise:__tostring()
  if not base.open(self) then return "lethe.vat.Promise (closed)" end
  local handle = promise_of(self)
  local it = handle.k.counts.promises[handle.kref]
  local state = it and promises.last(handle.k, it).state or "over"
  return ("lethe.vat.Promise: %s (%s)"):format(handle.kref, state)
end

function Presence:__tostring()
  if not base.open(self) then return "lethe.vat.Presence (closed)" end
  local handle = presence_of(self)
  local object = handle.k.counts.objects[handle.kref]
  local owner = object and object.owner
  return ("lethe.vat.Presence: %s%s"):format(handle.kref, owner and " of " .. owner or "")
end

new_presence, presence_of = base.class("vat.Presence", Presence, ended)
new_promise, promise_of = base.class("vat.Promise", Promise, ended)

return M
