-- Backends for specs of the cache: a store that logs what it is asked, answers when it is told to,
-- and fails where it is told to.
local loop <const> = require "lethe.loop"

local M = {}

local Store = {}
Store.__index = Store

---A backend over `store.data`. `store.log` is a list of "load a", "flush a", "evict a", "barrier".
---@param data table?
---@return table
function M.store(data)
  return setmetatable({ data = data or {}, log = {}, gates = {}, broken = {}, waiting = {} }, Store)
end

-- Where a gate is shut the call waits for it.
local function pass(self, what, key)
  local name <const> = key == nil and what or ("%s %s"):format(what, key)
  self.log[#self.log + 1] = name
  for _, gate in ipairs{ what, name } do
    while self.gates[gate] do
      loop.wait(nil, function(wake)
        self.waiting[#self.waiting + 1] = wake
      end)
    end
  end
  local fault <const> = self.broken[name] or self.broken[what]
  if type(fault) == "number" then -- so many times
    local field <const> = self.broken[name] and name or what
    self.broken[field] = fault > 1 and fault - 1 or nil
  end
  if fault then error("input/output error", 0) end
end

function Store:load(key)
  pass(self, "load", key)
  return self.data[key]
end

function Store:flush(key, value)
  pass(self, "flush", key)
  self.data[key] = value
end

function Store:barrier()
  pass(self, "barrier")
end

---Shuts a gate: "load", "flush a", "barrier" ...
function Store:shut(name)
  self.gates[name] = true
end

---Opens it, and lets go on who waits for it; all of them without a name.
function Store:open(name)
  if name then
    self.gates[name] = nil
  else
    self.gates = {}
  end
  local waiting <const> = self.waiting
  self.waiting = {}
  for _, wake in ipairs(waiting) do
    wake(true)
  end
end

---What it was asked since this was called last, as one line.
---@return string
function Store:said()
  local line <const> = table.concat(self.log, ", ")
  self.log = {}
  return line
end

---How often it was asked `what`.
---@return integer
function Store:count(what)
  local n = 0
  for _, name in ipairs(self.log) do
    if name == what or name:match("^%w+") == what then n = n + 1 end
  end
  return n
end

---Turns a loop until nothing is ready any more.
function M.settle(on)
  on = on or loop.default()
  for _ = 1, 100 do
    if not on:step() then return end
  end
end

---Starts `fn` as a task that has run up to its first wait; its results are in the table.
---@return table outcome { done =, n =, [1..n] }
function M.start(on, fn, ...)
  local outcome <const> = { done = false }
  outcome.task = on:spawn(function(...)
    local results <const> = table.pack(fn(...))
    for i = 1, results.n do
      outcome[i] = results[i]
    end
    outcome.n, outcome.done = results.n, true
  end, ...)
  M.settle(on)
  return outcome
end

return M
