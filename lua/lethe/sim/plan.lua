-- What a simulation consists of: its options, checked, as a list of jobs, policy by policy and size
-- by size.

local base = require "lethe.core.base"
local check = require "lethe.check"
local make = require "lethe.evict.make"
local policies = require "lethe.policy"

local M = {}

-- Of the footprint, where no sizes are told.
M.FRACTIONS = { 0.001, 0.003, 0.01, 0.03, 0.1, 0.2, 0.4, 0.8 }

-- ---- sizes ------------------------------------------------------------------------------------

--- The capacity that a size stands for.
---@param size number|string
---@param footprint integer
---@param unit boolean
---@param level integer
---@return integer
function M.capacity(size, footprint, unit, level)
  if type(size) == "string" and not unit then return base.size(size, "size", level + 1) end
  if math.type(size) == "integer" and size >= 0 then return size end
  if math.type(size) == "float" and size > 0 and size <= 1 then
    return math.floor(footprint * size)
  end
  local whole <const> = math.type(size) == "float" and math.tointeger(size)
  if whole and whole > 1 then return whole end
  error(("a size is a number of %s or a fraction up to 1.0 (got %s)"):format(
    unit and "entries" or "bytes", type(size) == "number" and size or check.kind(size)), level + 1)
end

-- ---- policies ---------------------------------------------------------------------------------

-- Whether a value can go to another state.
local function is_data(value)
  local class <const> = type(value)
  if class ~= "table" then
    return class == "string" or class == "number" or class == "boolean"
      or base.type(value) == "policy.Text"
  end
  for key, item in next, value do
    if not is_data(key) or not is_data(item) then return false end
  end
  return true
end

local function is_path(name)
  return name:find("/", 1, true) ~= nil or name:find("%.lua$") ~= nil
end

-- A policy of the list: what jobs have of it. Misuse raises here, before anything runs; what else
-- is wrong is found where it runs, or is `failed` already.
local function read(policy, index, level)
  local class <const> = base.type(policy) or type(policy)
  if class == "string" then
    local name <const> = policy:match("[^/]+$") or policy
    if not is_path(policy) then return { policy = policy, name = policy, apart = true } end
    local text, message = policies.load(policy)
    return { policy = text, name = name, apart = true, failed = message }
  elseif class == "policy.Text" then
    if not base.open(policy) then error("a policy is a closed lethe.policy.Text", level + 1) end
    return { policy = policy, name = policy:name(), apart = true }
  elseif class ~= "table" and class ~= "function" then
    local message = "a policy is a name, a function or a table (got %s)"
    error(message:format(check.kind(policy)), level + 1)
  end
  local made <close>, message = make.make(policy, 1024, 1, true, level + 1)
  local name <const> = class == "table" and policy.name or ("script %d"):format(index)
  return { policy = policy, name = name, apart = is_data(policy),
    failed = not made and message or nil }
end

-- ---- options ----------------------------------------------------------------------------------

local NAMES <const> = { "trace", "policies", "sizes", "unit", "jobs", "progress", "seed" }

local function list(options, name, default, level)
  local value = options[name]
  if value == nil then return default end
  if type(value) ~= "table" then return { value } end
  if #value == 0 then error(("%s must be a list that is not empty"):format(name), level + 1) end
  return value
end

local function integer(options, name, default, least, level)
  local value = options[name]
  if value == nil then return default end
  if math.type(value) ~= "integer" or value < least then
    error(("%s must be an integer%s (got %s)"):format(name,
      least > math.mininteger and " from " .. least or "", tostring(value)), level + 1)
  end
  return value
end

local function check_trace(options, level)
  local trace = options.trace
  if base.type(trace) ~= "sim.Trace" then
    error(("trace must be a lethe.sim.Trace (got %s)"):format(check.kind(trace)), level + 1)
  end
  if not base.open(trace) then error("trace is a closed lethe.sim.Trace", level + 1) end
  return trace
end

---@class lethe.sim.Plan
---@field trace lethe.sim.Trace
---@field unit boolean
---@field workers integer? how many were asked for
---@field progress boolean
---@field jobs table[] number, policy, name, size, capacity, unit, seed; apart: it may run elsewhere

--- Checks options; misuse raises at `level`.
---@param options lethe.sim.RunOptions
---@param level integer
---@return lethe.sim.Plan
function M.new(options, level)
  base.options(options, NAMES, level + 1)
  local trace <const> = check_trace(options, level + 1)
  local unit <const> = check.typed(options, "unit", "boolean", level + 1) or false
  local seed <const> = integer(options, "seed", 1, math.mininteger, level + 1)
  local footprint <const> = unit and trace:objects() or trace:bytes()
  local sizes <const> = list(options, "sizes", M.FRACTIONS, level + 1)
  local plan = { trace = trace, unit = unit, jobs = {},
    progress = check.typed(options, "progress", "boolean", level + 1) or false,
    workers = integer(options, "jobs", nil, 1, level + 1) }
  local capacities = {}
  for i, size in ipairs(sizes) do
    capacities[i] = M.capacity(size, footprint, unit, level + 1)
  end
  for index, policy in ipairs(list(options, "policies", policies.names(), level + 1)) do
    local it <const> = read(policy, index, level + 1)
    for i, size in ipairs(sizes) do
      plan.jobs[#plan.jobs + 1] = { number = #plan.jobs + 1, index = index, policy = it.policy,
        name = it.name, apart = it.apart, failed = it.failed, size = size,
        capacity = capacities[i], unit = unit, seed = seed }
    end
  end
  return plan
end

return M
