-- What a program does to a kernel, written down, and done again to another.
--
-- A recording lists the calls that matter to the vats: send, await, run, step, reap, terminate,
-- drop_cycles, collect, asking a promise for its value and closing a handle. A handle is remembered
-- by its origin: the root of a vat, or the n-th handle that the i-th call brought forth. So a
-- recording can be repeated with some calls left out; calls that need what is then missing are left
-- out too.

local base = require "lethe.core.base"
local host = require "lethe.vat.host"
local marshal = require "lethe.vat.marshal"

local M = {}

---@class lethe.vat.Recording
---@field calls { name: string, handle: string?, data: string, slots: string[] }[]
local Recording = {}
Recording.__index = Recording

local function origin(made, call)
  return ("%d of %d"):format(made, call)
end

--- Writes down what is done to this kernel from now on.
---@param k table the kernel's state
---@param roots table<string, lethe.vat.Presence> of its vats, by name
---@return lethe.vat.Recording
function M.start(k, roots)
  local self = setmetatable({ calls = {}, origins = {}, n = 0 }, Recording)
  for name, root in pairs(roots) do
    self.origins[host.key(root)] = "root " .. name
  end
  k.handles.kept = k.handles.kept or {}
  k.recording = self
  return self
end

local function origin_of(self, value)
  local key = host.key(value)
  return key and self.origins[key]
end

--- A call is about to be made.
---@param name string
---@param handle lethe.vat.Presence|lethe.vat.Promise|nil what it is about
function Recording:call(name, handle, ...)
  local data, slots = marshal.encode(table.pack(...), function(value)
    return origin_of(self, value)
  end)
  self.n = 0
  self.calls[#self.calls + 1] = {
    name = name, handle = handle and origin_of(self, handle), data = data, slots = slots,
  }
end

--- A handle was made.
---@param handle lethe.vat.Presence|lethe.vat.Promise
function Recording:made(handle)
  self.n = self.n + 1
  self.origins[host.key(handle)] = origin(self.n, #self.calls)
end

--- A handle was closed; `key` is what stood for it.
---@param key table
function Recording:closed(key)
  self.calls[#self.calls + 1] = {
    name = "close", handle = self.origins[key], data = "=", slots = {},
  }
end

-- ---- doing it again ---------------------------------------------------------------------------

local again = {}

function again.send(kernel, handle, values)
  kernel:send(handle, table.unpack(values, 1, values.n))
end

-- Runs as many cranks as the promise needs, whatever loop there is.
function again.await(kernel, handle)
  while handle:state() == "pending" and kernel:step() do end
  handle:value()
end

function again.value(_, handle) handle:value() end
function again.close(_, handle) handle:close() end

for _, name in ipairs{ "run", "step", "reap", "terminate", "drop_cycles", "collect" } do
  again[name] = function(kernel, _, values)
    kernel[name](kernel, table.unpack(values, 1, values.n))
  end
end

-- The values and the handle of a call; nil if one of its handles is missing.
local function resolve(call, handles)
  local whole = true
  local function find(name)
    local handle = handles[name]
    if not (handle and base.open(handle)) then whole = false end
    return handle
  end
  local handle = call.handle and find(call.handle)
  local values = marshal.decode(call.data, call.slots, find)
  if whole then return values, handle end
end

-- Learns what handles there are while the calls are made again.
local function new_listener(handles)
  local listener = { at = 0, n = 0 }
  function listener.call() end
  function listener.closed() end
  function listener.made(_, handle)
    listener.n = listener.n + 1
    handles[origin(listener.n, listener.at)] = handle
  end
  return listener
end

--- Makes the calls once more.
---@param kernel lethe.vat.Kernel a new one, of the same vats
---@param k table its state
---@param roots table<string, lethe.vat.Presence>
---@param keep table<integer, boolean>? which of the calls; all of them without
function Recording:repeat_on(kernel, k, roots, keep)
  local handles = {}
  local listener = new_listener(handles)
  for name, root in pairs(roots) do
    handles["root " .. name] = root
  end
  k.handles.kept = k.handles.kept or {}
  k.recording = listener
  for i, call in ipairs(self.calls) do
    listener.at, listener.n = i, 0
    if not keep or keep[i] then
      local values, handle = resolve(call, handles)
      if values then again[call.name](kernel, handle, values) end
    end
  end
  k.recording = nil
end

-- Where a handle is from, for people: the name of a vat, or which result.
local function tell(name)
  return (name:gsub("^root ", ""))
end

--- A call for people: { to, method, args } of a send, by name and by position; else { call, to,
--- args }.
---@param i integer
---@return table
function Recording:describe(i)
  local call = self.calls[i]
  local values = marshal.decode(call.data, call.slots, tell)
  local to = call.handle and tell(call.handle)
  if call.name ~= "send" then
    return { call = call.name, to = to, args = { table.unpack(values, 1, values.n) } }
  end
  local args = { table.unpack(values, 2, values.n) }
  return { to, values[1], args, to = to, method = values[1], args = args }
end

return M
