-- The vocabulary of a spec file: describe, it, the hooks, and luassert's assert, spy, stub, mock
-- and match. The words only note what a block contains; lethe.spec.run walks it.
local outcome = require "lethe.spec.outcome"

local M = {}

local BLOCKS <const> = {
  describe = "describe",
  context = "describe",
  insulate = "insulate",
  expose = "expose",
}

local TESTS <const> = { "it", "spec", "test" }

local HOOKS <const> = {
  before_each = "before_each",
  after_each = "after_each",
  setup = "strict_setup",
  strict_setup = "strict_setup",
  teardown = "strict_teardown",
  strict_teardown = "strict_teardown",
  lazy_setup = "lazy_setup",
  lazy_teardown = "lazy_teardown",
}

---@class lethe.spec.Node
---@field kind string "file", "describe", "insulate", "expose", "it" or "pending"
---@field name string its own name; of a file, the path
---@field title string? the names from the outermost block down to this one
---@field run function?
---@field parent lethe.spec.Node?
---@field children lethe.spec.Node[]
---@field hooks table<string, function[]>
---@field left_out boolean? a filter kept something out of it
---@field shuffle boolean|integer|nil

---@param kind string
---@param name string
---@param fn function?
---@param parent lethe.spec.Node?
---@return lethe.spec.Node
function M.node(kind, name, fn, parent)
  local title = nil
  if parent then
    title = parent.title and (parent.title .. " " .. name) or name
  end
  return {
    kind = kind,
    name = name,
    title = title,
    run = fn,
    parent = parent,
    children = {},
    hooks = {},
  }
end

local function callable(v)
  if type(v) == "function" then
    return true
  end
  local meta = debug.getmetatable(v)
  return type(meta) == "table" and meta.__call ~= nil
end

-- Gives one function of luassert another `error`, so that a failed assertion can be told from an
-- error in the code under test.
local function rebind_error(fn)
  for i = 1, 255 do
    local name, globals = debug.getupvalue(fn, i)
    if name == nil then
      return
    elseif name == "_ENV" then
      if rawget(globals, "error") ~= outcome.fail then
        local env = setmetatable({ error = outcome.fail }, { __index = globals })
        debug.upvaluejoin(fn, i, function() return env end, 1)
      end
      return
    end
  end
end

local function luassert()
  local assertion = require "luassert"
  rebind_error(getmetatable(assertion).__call)
  rebind_error(getmetatable(assertion.state()).__call)
  return assertion
end

-- A word that declares something in the block that is being read. Called with a name alone it
-- returns a function that takes the body, as `it "name" (function() ... end)` needs.
local function declaring(run, word, declare, default)
  return function(name, fn)
    local block = run.block
    if block == nil then
      error(("'%s' not supported inside current context block"):format(word), 2)
    end
    if fn == nil and callable(name) then
      name, fn = nil, name
    end
    local function finish(body)
      if not callable(body) then
        error(("bad argument to '%s' (function expected, got %s)"):format(word, type(body)), 3)
      end
      declare(block, name ~= nil and tostring(name) or word, body)
    end
    fn = fn or default
    if fn == nil then
      return function(body) finish(body) end
    end
    finish(fn)
  end
end

local function add(run, kind)
  return function(block, name, fn)
    local node = M.node(kind, name, fn, block)
    if run:selects(node) then
      table.insert(block.children, node)
    else
      block.left_out = true
    end
  end
end

local function add_hook(kind)
  return function(block, _, fn)
    local list = block.hooks[kind] or {}
    block.hooks[kind] = list
    list[#list + 1] = fn
  end
end

---The words for the files of one run.
---@param run lethe.spec.Run
---@return table
function M.new(run)
  local words = {
    assert = luassert(),
    spy = require "luassert.spy",
    stub = require "luassert.stub",
    mock = require "luassert.mock",
    match = require "luassert.match",
  }
  for word, kind in pairs(BLOCKS) do
    words[word] = declaring(run, word, add(run, kind))
  end
  for _, word in ipairs(TESTS) do
    words[word] = declaring(run, word, add(run, "it"))
  end
  for word, kind in pairs(HOOKS) do
    words[word] = declaring(run, word, add_hook(kind))
  end
  local declare_pending = declaring(run, "pending", add(run, "pending"), function() end)
  function words.pending(name, fn)
    if run.test then
      outcome.skip(name)
    end
    return declare_pending(name, fn)
  end
  function words.finally(fn)
    if run.test == nil then
      error("'finally' not supported inside current context block", 2)
    end
    run.test.finally = fn
  end
  function words.randomize(...)
    if run.block == nil then
      error("'randomize' not supported inside current context block", 2)
    end
    local wanted = select("#", ...) == 0 or ...
    run.block.shuffle = wanted
  end
  return words
end

return M
