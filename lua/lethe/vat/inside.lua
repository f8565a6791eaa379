--- What lives in a vat's own Lua state beside its code: the dispatcher between the kernel's
-- deliveries and the vat's objects, on the tables of vat.slots.
--
-- The host calls the functions that `open` returns, one crank being `deliver` (or another delivery)
-- and then `run`. The delivery is taken apart outside of the meter, since what that costs depends
-- on which presences the collector has left; `run`, under the meter, does what the vat's code is to
-- do until no job is left. What that asks of the kernel is a list that leaves with the crank's end,
-- so that nothing of a crank leaves that was cut off.

local deferred = require "lethe.vat.inside_promises"
local library = require "lethe.vat.inside_library"
local marshal = require "lethe.vat.marshal"
local slots_of = require "lethe.vat.slots"

local error, load, pcall, rawequal, select = error, load, pcall, rawequal, select
local setmetatable, type = setmetatable, type
local pack, unpack = table.pack, table.unpack

local M = {}

local SYSCALLS <const> = { "send", "subscribe", "resolve", "dropImports", "retireImports",
  "retireExports" }

-- ---- what leaves ------------------------------------------------------------------------------

local function copy(value)
  if type(value) ~= "table" then return value end
  local t = {}
  for key, each in next, value do
    t[key] = copy(each)
  end
  return t
end

-- Syscalls that only write down what was asked.
local function recorder(calls)
  local syscall = {}
  for _, name in ipairs(SYSCALLS) do
    syscall[name] = function(...)
      local call = { name, n = select("#", ...) }
      for i = 1, call.n do
        call[i + 1] = copy((select(i, ...)))
      end
      calls[#calls + 1] = call
    end
  end
  return syscall
end

-- ---- values -----------------------------------------------------------------------------------

-- The name of what passes by reference, or nil: marshal.encode's slot_of.
local function naming(vat)
  return function(value)
    local kind = type(value)
    if kind == "userdata" then return vat.slots:slot(value) end
    if kind == "table" and (vat.far[value] or vat.promises.is(value)) then
      return vat.slots:name(value)
    end
  end
end

local function encode_all(vat, values, what)
  local data, slots = marshal.encode(values, vat.name_of, what)
  return { data = data, slots = slots }
end

-- Every slot is imported, in order, whether the data speaks of it or not: the kernel counts it.
local function decode_all(vat, args, is_message)
  local objects = {}
  for _, name in ipairs(args.slots) do
    objects[name] = vat.slots:import(name)
  end
  return marshal.decode(args.data, args.slots, function(name) return objects[name] end, is_message)
end

-- Outcomes that cannot leave become rejections that say so.
local function checked_follow(vat, follow)
  return function(promise, fn)
    follow(promise, function(rejected, value)
      local ok, message = pcall(encode_all, vat, { value, n = 1 }, "the result")
      if ok then return fn(rejected, value) end
      return fn(true, message)
    end)
  end
end

-- ---- the vat's own words ----------------------------------------------------------------------

-- What a message can be sent to, by name; raises at `level` for anything else.
local function target(vat, x, level)
  local kind = type(x)
  if kind == "userdata" then
    local vref = vat.slots:slot(x)
    if vref then return vref end
  elseif kind == "table" then
    if vat.far[x] then return vat.slots:export(x) end
    if vat.promises.is(x) then
      local rejected, value = vat.promises.outcome(x)
      if rejected == nil then return vat.slots:name(x) end
      if not rejected then return target(vat, value, level + 1) end
      return nil, value
    end
  end
  error("E wants a presence, a promise or a far object (got " .. kind .. ")", level + 1)
end

local function send(vat, x, method, ...)
  local vref, reason = target(vat, x, 3)
  local ok, args = pcall(encode_all, vat, pack(...), "argument")
  if not ok then error(args, 3) end
  if not vref then return vat.promises.settled(true, reason) end
  return (vat.slots:send(vref, method, args))
end

local function add_words(vat, env)
  local promises = vat.promises

  function env.E(x)
    local proxy = setmetatable({}, {
      __index = function(proxy, method)
        if type(method) ~= "string" then error("a method's name is a string", 2) end
        return function(first, ...)
          if rawequal(first, proxy) then return send(vat, x, method, ...) end
          return send(vat, x, method, first, ...)
        end
      end,
      __metatable = false,
    })
    return proxy
  end

  function env.far(t)
    if type(t) ~= "table" or promises.is(t) then
      error("bad argument #1 to 'far' (table expected, got " .. type(t) .. ")", 2)
    end
    if not vat.far[t] then
      vat.count = vat.count + 1
      vat.far[t] = vat.count
    end
    return t
  end

  function env.when(x, ok, err)
    for i, fn in ipairs{ ok or false, err or false } do
      if fn and type(fn) ~= "function" then
        error(("bad argument #%d to 'when' (function expected, got %s)"):format(i + 1, type(fn)), 2)
      end
    end
    return promises.after(x, ok, err)
  end

  function env.promise()
    return promises.make()
  end

  function env.weak_map() return vat.slots:weak_map() end
  function env.weak_set() return vat.slots:weak_set() end
end

-- ---- deliveries -------------------------------------------------------------------------------

local function invoke(object, method, values)
  local fn = object[method]
  if type(fn) ~= "function" then
    error(("there is no method %q"):format(method), 0)
  end
  return fn(object, unpack(values, 1, values.n))
end

local function add_deliveries(vat, api)
  local slots, promises = vat.slots, vat.promises

  function api.deliver(vref, method, data, names, result)
    local object = slots:import(vref)
    local values = decode_all(vat, { data = data, slots = names }, true)
    local promise = promises.new()
    promises.job(function()
      local ok, value = pcall(invoke, object, method, values)
      promises.settle(promise, not ok, value)
    end)
    if result then slots:decide(result, promise) end
  end

  function api.notify(resolutions)
    slots:notify(resolutions)
  end

  function api.drop_exports(vrefs) slots:drop_exports(vrefs) end
  function api.retire_exports(vrefs) slots:retire_exports(vrefs) end
  function api.retire_imports(vrefs) slots:retire_imports(vrefs) end
  function api.bring_out_your_dead(budget) return slots:bring_out_your_dead(budget) end
  function api.finalize(n, pick) slots:finalize(n, pick) end
  function api.edges() return slots:edges() end
end

local function add_crank(vat, api, env)
  --- Runs what is due; what was asked of the kernel since, and what was printed.
  function api.run()
    vat.promises.run()
    return api.take()
  end

  function api.take()
    local calls, lines = {}, {}
    for i, call in ipairs(vat.calls) do
      calls[i], vat.calls[i] = call, nil
    end
    for i, line in ipairs(vat.lines) do
      lines[i], vat.lines[i] = line, nil
    end
    return calls, lines
  end

  --- Loads the vat's code, a chunk that is called as build(vat) and returns the root.
  function api.build(name, text, chunk_name, mode)
    local build, message = load(text, chunk_name, mode, env)
    if not build then error(message, 0) end
    local root = build({ name = name })
    if type(root) ~= "table" or vat.promises.is(root) then
      error(("a build returns the root, a table of methods (got %s)"):format(type(root)), 0)
    end
    env.far(root)
    vat.slots:root(root)
    vat.promises.run()
  end
end

-- ---- making -----------------------------------------------------------------------------------

--- Makes a sandbox's environment that of a vat.
---@param env table
---@return table api the functions that the host calls
function M.open(env)
  local vat = { calls = {}, lines = {}, far = setmetatable({}, { __mode = "k" }), count = 0 }
  local api = {}
  vat.promises = deferred.new()
  vat.name_of = naming(vat)
  vat.slots = slots_of.new{
    syscall = recorder(vat.calls),
    promises = {
      new = vat.promises.new, is = vat.promises.is, settle = vat.promises.settle,
      follow = checked_follow(vat, vat.promises.follow),
    },
    encode = function(value) return encode_all(vat, { value, n = 1 }, "the result") end,
    decode = function(args) return decode_all(vat, args)[1] end,
  }
  library.open(env, vat)
  add_words(vat, env)
  add_deliveries(vat, api)
  add_crank(vat, api, env)
  return api
end

return M
