-- What lives in a vat's own Lua state beside its code: the dispatcher between the kernel's
-- deliveries and the vat's objects, on the tables of vat.slots.
--
-- The host calls the functions that `open` returns, one crank being `deliver` (or another delivery)
-- and then `run`. The delivery is taken apart outside of the meter, since what that costs depends
-- on which presences the collector has left; `run`, under the meter, does what the vat's code is to
-- do until no job is left. What that asks of the kernel is a list that leaves with the crank's end,
-- so that nothing of a crank leaves that was cut off. Where the vat's code comes back into this
-- file's, for an order of keys or a value as text, what that takes may depend on the collector or
-- on hashes: it is not counted (`quiet`), and costs by the size of what came out.

local core = require "lethe.core.inside"
local deferred = require "lethe.vat.inside_promises"
local library = require "lethe.vat.inside_library"
local marshal = require "lethe.vat.marshal"
local slots_of = require "lethe.vat.slots"

local error, ipairs, load, pcall, rawequal = error, ipairs, load, pcall, rawequal
local select, setmetatable, type = select, setmetatable, type
local find, format = string.find, string.format
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

-- The name of a presence; nil for any other userdata.
local function presence_name(vat, value)
  local vref = vat.slots:slot(value)
  return vref and find(vref, "^[od]%-") and vref or nil
end

-- The name of what passes by reference, or nil: marshal.encode's slot_of.
local function naming(vat)
  return function(value)
    local kind = type(value)
    if kind == "userdata" then
      return presence_name(vat, value) or vat.promises.is(value) and vat.slots:name(value) or nil
    end
    return kind == "table" and vat.far[value] and vat.slots:name(value) or nil
  end
end

local BYTES_PER_UNIT <const>, UNITS_PER_SLOT <const> = 8, 50
local CALL <const> = 100 -- what a quiet call costs at least

local function encode(vat, values, what)
  local data, slots = marshal.encode(values, vat.name_of, what)
  return { data = data, slots = slots }
end

-- The same under the meter. Raises, without a position, for what cannot be sent.
local function encoder(vat)
  local quietly = core.quiet(function(...)
    return pcall(encode, vat, ...)
  end, CALL)
  return function(values, what)
    local ok, args = quietly(values, what)
    if not ok then error(args, 0) end
    vat.charge(#args.data // BYTES_PER_UNIT + UNITS_PER_SLOT * #args.slots)
    return args
  end
end

-- Every slot is imported, in order, whether the data speaks of it or not: the kernel counts it.
local function decode_all(vat, args, is_message)
  local objects = {}
  for _, name in ipairs(args.slots) do
    objects[name] = vat.slots:import(name)
  end
  return marshal.decode(args.data, args.slots, function(name) return objects[name] end, is_message)
end

-- Outcomes that cannot leave become rejections that say so. What was encoded to find out serves
-- when it leaves at once.
local function add_outcomes(vat, hooks, follow)
  local last, last_args

  function hooks.follow(promise, fn)
    follow(promise, function(rejected, value)
      local ok, args = pcall(vat.encode, { value, n = 1 }, "the result")
      if not ok then
        rejected, value = true, args
        args = vat.encode({ value, n = 1 })
      end
      last, last_args = value, args
      fn(rejected, value)
      last, last_args = nil, nil
    end)
  end

  return function(value)
    if last_args and rawequal(value, last) then return last_args end
    return vat.encode({ value, n = 1 }, "the result")
  end
end

-- ---- the vat's own words ----------------------------------------------------------------------

local function is_target(vat, x)
  local kind = type(x)
  if kind == "table" then return vat.far[x] ~= nil end
  return kind == "userdata" and (vat.promises.is(x) or presence_name(vat, x) ~= nil)
end

-- What a message to x goes to, by name; or nil, and why it cannot be sent. A promise that the
-- kernel knows stays the target until its outcome has left, so that no message overtakes another.
local function target(vat, x)
  if vat.promises.is(x) then
    local vref = vat.slots:slot(x)
    if vref then return vref end
    local rejected, value = vat.promises.outcome(x)
    if rejected == nil then return vat.slots:name(x) end
    if rejected then return nil, value end
    if not is_target(vat, value) then
      return nil, "a message cannot be sent to a " .. type(value)
    end
    x = value
  end
  return type(x) == "table" and vat.slots:export(x) or vat.slots:slot(x)
end

-- E(x):method(...); to be called by what the vat's code calls, and as its last deed.
local function sender(vat)
  local function post(x, method, values)
    local args = encode(vat, values, "argument")
    local size = #args.data // BYTES_PER_UNIT + UNITS_PER_SLOT * #args.slots
    local vref, reason = target(vat, x)
    if not vref then return size, vat.promises.settled(true, reason) end
    return size, (vat.slots:send(vref, method, args))
  end
  local quietly = core.quiet(function(...) return pcall(post, ...) end, CALL)
  return function(x, method, ...)
    local ok, size, promise = quietly(x, method, pack(...))
    if not ok then error(size, 2) end
    vat.charge(size)
    return promise
  end
end

local function make_far(vat, t)
  if not vat.far[t] then
    vat.count = vat.count + 1
    vat.far[t] = vat.count
  end
end

local function add_words(vat, env)
  local promises = vat.promises
  local send = sender(vat)

  local PROXY <const> = { __name = "E", __metatable = false }

  function PROXY.__index(proxy, method)
    if type(method) ~= "string" then error("a method's name is a string", 2) end
    local x = core.insides(proxy, PROXY).x
    return function(first, ...)
      if rawequal(first, proxy) then return send(x, method, ...) end
      return send(x, method, first, ...)
    end
  end

  function env.E(x)
    if not is_target(vat, x) then
      error("E wants a presence, a promise or a far object (got " .. type(x) .. ")", 2)
    end
    return core.object(PROXY, { x = x })
  end

  function env.far(t)
    if type(t) ~= "table" then
      error("bad argument #1 to 'far' (table expected, got " .. type(t) .. ")", 2)
    end
    make_far(vat, t)
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

  end

-- Weak collections, whose books tell which notes of the collector's have come.
local function add_collections(vat, env)
  for _, name in ipairs{ "weak_map", "weak_set" } do
    env[name] = core.quiet(function() return vat.slots[name](vat.slots) end, CALL)
  end
  for _, methods in ipairs(vat.slots:weak_methods()) do
    for name, fn in next, methods do
      methods[name] = core.quiet(fn, CALL)
    end
  end
end

-- ---- deliveries -------------------------------------------------------------------------------

local function invoke(object, method, values)
  local fn = object[method]
  if type(fn) ~= "function" and not core.metafield(fn, "__call") then
    error(format("there is no method %q", method), 0)
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

  --- A message that is not taken apart: what came with it counts as delivered all the same.
  function api.refuse(names, result, message)
    for _, name in ipairs(names) do slots:import(name) end
    if result then slots:decide(result, promises.settled(true, message)) end
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
    core.forget()
    return calls, lines
  end

  --- Loads the vat's code, a chunk that is called as build(vat) and returns the root. Whether it
  --- asked for anything that is to leave.
  function api.build(name, text, chunk_name, mode)
    local build, message = load(text, chunk_name, mode, env)
    if not build then error(message, 0) end
    local root = build({ name = name })
    if type(root) ~= "table" then
      error(format("a build returns the root, a table of methods (got %s)", type(root)), 0)
    end
    if vat.slots:slot(root) then error("the root was sent before the build returned it", 0) end
    make_far(vat, root) -- whatever became of the word in the vat's globals
    vat.slots:root(root)
    vat.promises.run()
    return vat.calls[1] ~= nil or vat.lines[1] ~= nil
  end
end

-- ---- making -----------------------------------------------------------------------------------

--- Makes a sandbox's environment that of a vat.
---@param env table
---@return table api the functions that the host calls
function M.open(env)
  local vat = {
    calls = {}, lines = {}, far = setmetatable({}, { __mode = "k" }), count = 0,
    charge = core.charge, promises = deferred.new(),
  }
  local api, hooks = {}, {}
  vat.name_of = naming(vat)
  vat.encode = encoder(vat)
  for _, name in ipairs{ "new", "is", "settle" } do
    hooks[name] = vat.promises[name]
  end
  vat.slots = slots_of.new{
    syscall = recorder(vat.calls), promises = hooks,
    encode = add_outcomes(vat, hooks, vat.promises.follow),
    decode = function(args) return decode_all(vat, args)[1] end,
  }
  function vat.text_of(value)
    local name = presence_name(vat, value)
    return name and "presence: " .. name
  end
  library.open(env, vat, core.charge)
  add_words(vat, env)
  add_collections(vat, env)
  add_deliveries(vat, api)
  add_crank(vat, api, env)
  return api
end

return M
