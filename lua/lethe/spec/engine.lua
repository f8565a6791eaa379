-- LuaUnit as the engine: it runs one function per test, keeps the counts and decides the verdict.
-- It is told outcomes in its own words; the texts a reader sees stay with our reports, because
-- LuaUnit reads an error's text as a pattern.
local M = {}

---@class lethe.spec.Engine
local Engine = {}
Engine.__index = Engine

local function load_luaunit()
  local exit = os.exit
  local found, lu = pcall(require, "luaunit")
  os.exit = exit -- luacheck: ignore 122
  if not found then
    error("lethe.spec needs the module \"luaunit\" (Debian package lua-unit): " .. lu, 0)
  end
  return lu
end

local function forbidden_exit()
  error("os.exit called inside a spec", 2)
end

---@param clock fun(): number seconds
---@return lethe.spec.Engine
function M.new(clock)
  local lu = load_luaunit()
  local runner = lu.LuaUnit.new()
  local silent = setmetatable({}, { __index = lu.genericOutput })
  runner.outputType = { new = function() return silent end }
  runner.testPrefix = ""
  return setmetatable({ lu = lu, runner = runner, clock = clock, exit = os.exit }, Engine)
end

function Engine:start()
  os.exit = forbidden_exit -- luacheck: ignore 122
  self.runner:startSuite(0, 0)
end

---Runs `body`, which returns an outcome and never raises.
---@param name string
---@param body fun(): lethe.spec.Outcome
---@return lethe.spec.Outcome
function Engine:test(name, body)
  local lu, outcome = self.lu, nil
  self.runner:execOneFunction(nil, name, nil, function()
    local began = self.clock()
    outcome = body()
    outcome.seconds = self.clock() - began
    if outcome.status == "failed" then
      error(lu.FAILURE_PREFIX .. "failed", 0)
    elseif outcome.status == "error" then
      error("error", 0)
    elseif outcome.status == "skipped" then
      error(lu.SKIP_PREFIX .. "skipped", 0)
    end
  end)
  return outcome
end

---@class lethe.spec.Counts
---@field passed integer
---@field failed integer failures and errors
---@field errors integer the errors among them
---@field skipped integer

---@return lethe.spec.Counts
function Engine:finish()
  if self.runner.lastClassName ~= nil then
    self.runner:endClass()
  end
  self.runner:endSuite()
  os.exit = self.exit -- luacheck: ignore 122
  local result = self.runner.result
  return {
    passed = result.successCount,
    failed = result.failureCount + result.errorCount,
    errors = result.errorCount,
    skipped = result.skippedCount,
  }
end

return M
