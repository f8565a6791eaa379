-- The environment in which text that nobody vouches for runs: policies in files, and whatever
-- else gets a Lua state of its own.
--
-- `build` makes a table of globals out of Lua's own library. It leaves out what reaches the host
-- (package, io, os, debug, print, collectgarbage, binary chunks), and puts functions that charge a
-- meter in the place of those that burn time in C. Nothing of the host's is reachable from it: its
-- tables are fresh, and a metatable's __gc is never armed. The module itself needs no meter and
-- runs anywhere; bindings/sandbox.c builds the environment in a state of its own, with a real one.
--
-- Comparing strings is an instruction, which no function of a library sees. While a string of 4 KiB
-- or more lives in such a state, the meter weighs instructions by the time that they take.
local check = require "lethe.sandbox.check"
local list = require "lethe.sandbox.list"
local numbers = require "lethe.sandbox.numbers"
local text = require "lethe.sandbox.text"
local threads = require "lethe.sandbox.threads"
local utf = require "lethe.sandbox.utf"

local error, getmetatable, load, pairs, pcall = error, getmetatable, load, pairs, pcall
local rawget, rawset, select, setmetatable = rawget, rawset, select, setmetatable
local tonumber, type, xpcall, concat = tonumber, type, xpcall, table.concat
local byte, find, gsub, sub = string.byte, string.find, string.gsub, string.sub

local M = {}

-- Base functions that are safe as they are.
local PLAIN = {
  "assert", "error", "ipairs", "next", "pairs", "rawequal", "rawget", "rawlen", "rawset",
  "select", "tostring", "type", "_VERSION",
}

local PARSE = 4 -- instructions charged for each byte of source

-- ---- metatables ---------------------------------------------------------------------------------

-- Lua arms a finalizer when setmetatable sees a __gc, so it is not shown one; the field stays.
local function set_metatable(t, mt)
  check.list(t, 1, "setmetatable")
  if mt ~= nil then check.list(mt, 2, "setmetatable") end
  local gc = mt and rawget(mt, "__gc")
  if gc ~= nil then rawset(mt, "__gc", nil) end
  local ok, message = pcall(setmetatable, t, mt)
  if gc ~= nil then rawset(mt, "__gc", gc) end
  if not ok then error(message, 2) end
  return t
end

-- The metatable of strings belongs to the whole state: a policy gets a copy to look at.
local function add_metatables(env)
  local face = { __index = env.string }
  env.setmetatable = set_metatable
  function env.getmetatable(value)
    if type(value) == "string" then return face end
    return getmetatable(value)
  end
end

-- ---- load ---------------------------------------------------------------------------------------

-- A reader function's pieces, as one string.
local function read_all(reader)
  local pieces, n = {}, 0
  while true do
    local piece = reader()
    if piece == nil or piece == "" then return concat(pieces) end
    if type(piece) ~= "string" then error("reader function must return a string", 3) end
    n = n + 1
    pieces[n] = piece
  end
end

-- What messages call the chunk: no path of a file, whatever the name says.
local function chunk_name(name, chunk)
  if type(name) ~= "string" then return type(chunk) == "string" and chunk or "=(load)" end
  if not find(name, "^[@=]") then return name end
  return "=" .. gsub(sub(name, 2), ".*[/\\]", "")
end

local function add_load(env, charge)
  function env.load(chunk, name, mode, ...)
    local target, source = env, chunk
    if select("#", ...) > 0 then target = (...) end
    if type(chunk) == "function" then source = read_all(chunk) end
    if type(source) ~= "string" then
      error("bad argument #1 to 'load' (function expected, got " .. type(chunk) .. ")", 2)
    end
    mode = mode == nil and "t" or check.text(mode, 3, "load")
    if not find(mode, "t", 1, true) then
      return nil, "attempt to load a text chunk (mode is '" .. mode .. "')"
    end
    if byte(source) == 27 then return nil, "attempt to load a binary chunk (mode is 't')" end
    charge(PARSE * #source)
    return load(source, chunk_name(name, chunk), "t", target)
  end
end

-- ---- the environment ----------------------------------------------------------------------------

-- pcall and xpcall: catching an error takes time with the depth of the stack; `caught` charges it.
local function add_pcalls(env, caught)
  if not caught then
    env.pcall, env.xpcall = pcall, xpcall
    return
  end
  local function after(ok, ...)
    if not ok then caught() end
    return ok, ...
  end
  function env.pcall(fn, ...)
    return after(pcall(fn, ...))
  end
  function env.xpcall(fn, handler, ...)
    check.fn(handler, 2, "xpcall")
    return after(xpcall(fn, handler, ...))
  end
end

---@class lethe.sandbox.Options
---@field next? function in the place of Lua's own, and pairs with it: they charge by themselves
---@field pairs? function
---@field caught? fun() called after each error that pcall or xpcall caught
---@field seed? integer of math.random

--- A new environment, whose `_G` is itself.
---@param charge? fun(n: integer) takes n instructions off a budget and raises when it is spent; a
--- negative n gives back
---@param options? lethe.sandbox.Options
---@return table env
function M.build(charge, options)
  charge = charge or function() end
  options = options or {}
  local env = {
    coroutine = threads.library(charge),
    math = numbers.library(options.seed),
    string = text.library(charge),
    table = list.library(charge),
    utf8 = utf.library(charge),
  }
  env._G = env
  for _, name in pairs(PLAIN) do env[name] = _G[name] end
  env.next, env.pairs = options.next or env.next, options.pairs or env.pairs
  add_metatables(env)
  add_load(env, charge)
  add_pcalls(env, options.caught)
  function env.tonumber(value, base)
    if type(value) == "string" and #value > 64 then charge(#value // 4) end
    if base == nil then return tonumber(value) end
    return check.call(tonumber, value, base)
  end
  return env
end

-- Lua's metamethods of strings that convert to numbers, charged by the length they look through.
local function charged(metamethod, charge)
  return function(a, b)
    local size = (type(a) == "string" and #a or 0) + (type(b) == "string" and #b or 0)
    if size > 64 then charge(size // 4) end
    return check.call(metamethod, a, b)
  end
end

--- Makes the environment's string library that of the state's strings: ("x"):rep(2). Only for a
--- state that belongs to the environment alone.
---@param env table
---@param charge fun(n: integer)
function M.adopt(env, charge)
  local mt = getmetatable("")
  for name, value in pairs(mt) do
    if type(value) == "function" then mt[name] = charged(value, charge) end
  end
  mt.__index = env.string
end

return M
