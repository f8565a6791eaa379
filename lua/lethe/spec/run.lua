-- Walks spec files in busted's order: a block's body, its setups, its tests and blocks, its
-- teardowns. Each test runs outside any lethe task, under LuaUnit, with the run's seed.
local engine = require "lethe.spec.engine"
local files = require "lethe.spec.files"
local outcome = require "lethe.spec.outcome"
local sandbox = require "lethe.spec.sandbox"
local words = require "lethe.spec.words"

local M = {}

---@class lethe.spec.Run
---@field seed integer
---@field block lethe.spec.Node? the block whose body is being read
---@field test table? the test whose body is running
local Run = {}
Run.__index = Run

local function has_tag(name, tags)
  for _, tag in ipairs(tags) do
    if name:find("#" .. tag, 1, true) then
      return true
    end
  end
  return false
end

local function matches(name, patterns)
  for _, pattern in ipairs(patterns) do
    if name:find(pattern) then
      return true
    end
  end
  return false
end

---Whether the filters let a block or test in.
---@param node lethe.spec.Node
---@return boolean
function Run:selects(node)
  local o = self.options
  if has_tag(node.name, o.exclude_tags) or matches(node.title, o.filter_out) then
    return false
  end
  if node.kind ~= "it" and node.kind ~= "pending" then
    return true
  end
  return (#o.filter == 0 or matches(node.title, o.filter))
    and (#o.tags == 0 or has_tag(node.title, o.tags))
end

function Run:report_outcome(node, title, result)
  result.title = node.title
  result.name = title
  result.file = self.file
  self.report:result(result)
end

-- What went wrong outside a test's own body counts as a failed entry of its own.
function Run:problem(node, what, result)
  local title = node.title and node.title .. " " .. what or "the file itself"
  if result.status == "failed" or result.status == "skipped" then
    result.status = "error"
  end
  self:report_outcome(node, title, self.engine:test(title, function() return result end))
end

-- Calls fn; nil when it went well.
local function attempt(fn)
  local ok, result = xpcall(fn, outcome.caught)
  if ok then
    return nil
  elseif type(result) ~= "table" then -- for want of memory Lua calls no handler
    result = { status = "error", message = tostring(result) }
  end
  return result
end

-- Runs the hooks of one kind of one block, all of them even when one fails.
local function run_hooks(node, kind, note)
  local good = true
  for _, fn in ipairs(node.hooks[kind] or {}) do
    local result = attempt(fn)
    if result then
      note(node, kind, result)
      good = false
    end
  end
  return good
end

function Run:lazy_setup(node)
  if node.parent and not self:lazy_setup(node.parent) then
    return false
  end
  if node.lazy_ready == nil then
    node.lazy_ready = run_hooks(node, "lazy_setup", self.note)
  end
  return node.lazy_ready
end

-- Outer blocks first. Returns whether the test may run, and the block from which on outwards
-- after_each is due.
function Run:before_each(node, note)
  if node.parent then
    local good, reached = self:before_each(node.parent, note)
    if not good then
      return false, reached
    end
  end
  return run_hooks(node, "before_each", note), node
end

local function run_after_each(node, note)
  while node do
    run_hooks(node, "after_each", note)
    node = node.parent
  end
end

function Run:body(node, note)
  local test = {}
  self.test = test
  local result = attempt(node.run) or { status = "passed" }
  self.test = nil
  local late = test.finally and attempt(test.finally)
  if late and (result.status == "passed" or result.status == "skipped") then
    late.status = "error"
    result = late
  elseif late then
    note(node, "finally", late)
  end
  return result
end

function Run:run_test(node)
  if not self:lazy_setup(node.parent) then
    return
  end
  local extra = {}
  local function note(where, what, result)
    extra[#extra + 1] = { where, what, result }
  end
  local result = self.engine:test(node.title, function()
    math.randomseed(self.seed)
    local good, reached = self:before_each(node.parent, note)
    local result
    if good then
      result = self:body(node, note)
    else
      result = table.remove(extra, 1)[3]
      result.status = "error"
    end
    run_after_each(reached, note)
    return result
  end)
  self:report_outcome(node, node.title, result)
  for _, problem in ipairs(extra) do
    self:problem(problem[1], problem[2], problem[3])
  end
end

function Run:run_pending(node)
  local result = self.engine:test(node.title, function() return { status = "skipped" } end)
  self:report_outcome(node, node.title, result)
end

local function shuffle(list, seed)
  math.randomseed(seed)
  for i = #list, 2, -1 do
    local j = math.random(i)
    list[i], list[j] = list[j], list[i]
  end
end

function Run:children(node)
  if node.shuffle or (self.options.shuffle and node.shuffle ~= false) then
    shuffle(node.children, math.tointeger(node.shuffle) or self.seed)
  end
  for _, child in ipairs(node.children) do
    if child.kind == "it" then
      self:run_test(child)
    elseif child.kind == "pending" then
      self:run_pending(child)
    else
      self:run_block(child)
    end
  end
end

-- An exposed block's modules and globals outlive the insulation around it.
local function keep(node)
  while node and not node.snapshot do
    node = node.parent
  end
  if node then
    node.snapshot = sandbox.save()
  end
end

function Run:run_block(node)
  local insulated = node.kind == "file" or node.kind == "insulate"
  if insulated then
    node.snapshot = sandbox.save()
  end
  self.block = node
  local failed = attempt(node.run)
  self.block = nil
  if failed then
    self:problem(node, node.kind, failed)
  elseif #node.children > 0 or not node.left_out then
    if run_hooks(node, "strict_setup", self.note) then
      self:children(node)
    end
    if node.lazy_ready ~= nil then
      run_hooks(node, "lazy_teardown", self.note)
    end
    run_hooks(node, "strict_teardown", self.note)
  end
  if insulated then
    sandbox.restore(node.snapshot)
  elseif node.kind == "expose" then
    keep(node.parent)
  end
end

function Run:run_file(path)
  self.file = path
  self.report:file(path)
  local chunk, message = loadfile(path, "t", sandbox.environment(self.words))
  if chunk then
    self:run_block(words.node("file", path, chunk))
  else
    self:problem({}, "file", { status = "error", message = message })
  end
  self.report:file_done(path)
end

---Runs the spec files and reports them.
---@param options table complete options, as lethe.spec.run makes them
---@param report table
---@param clock fun(): number
---@return lethe.spec.Counts
function M.run(options, report, clock)
  local run = setmetatable({ options = options, report = report, seed = options.seed }, Run)
  run.note = function(node, what, result) run:problem(node, what, result) end
  run.engine = engine.new(clock)
  run.words = words.new(run)
  local began = clock()
  local list, missing = files.find(options.paths, options.pattern)
  if options.shuffle then
    shuffle(list, options.seed)
  end
  report:start()
  run.engine:start()
  for _, problem in ipairs(missing) do
    run.file = problem.path
    run:problem({}, "file", { status = "error", message = problem.message })
  end
  for _, path in ipairs(list) do
    run:run_file(path)
  end
  local counts = run.engine:finish()
  counts.seconds = clock() - began
  report:finish(counts)
  return counts
end

return M
