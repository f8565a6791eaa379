-- Eviction policies of what a program gives, for the modules that need one; and dry runs.

local base = require "lethe.core.base"
local check = require "lethe.check"
local core = require "lethe.core.policy"
local evict = require "lethe.core.evict"

local M = {}

local FORMS <const> = { ["string"] = true, ["function"] = true, ["table"] = true }

--- A policy, for a cache of that limit. What a configuration may get wrong is refused; misuse
--- raises at `level`, 1 being the caller.
---@param policy any a name, a path, a function, a table or a lethe.policy.Text
---@param limit integer
---@param seed integer
---@param quiet boolean its failures are not reported
---@param level integer
---@return userdata? made
---@return string? message
---@return string? code "bad_policy"
function M.make(policy, limit, seed, quiet, level)
  if not FORMS[type(policy)] and base.type(policy) ~= "policy.Text" then
    local message = "policy must be a name, a function or a table (got %s)"
    error(message:format(check.kind(policy)), level + 1)
  end
  if base.type(policy) and not base.open(policy) then
    error("policy is a closed lethe.policy.Text", level + 1)
  end
  local ok, made, message, code = pcall(core.make, policy, limit, seed, quiet)
  if not ok then error(made, level + 1) end
  if made == nil then return nil, message, code end
  return made
end

-- ---- dry runs ---------------------------------------------------------------------------------

local LIMIT <const>, REQUESTS <const>, IDS <const> = 24, 1500, 96

local drawn <const> = {} -- once, of one size and of several

-- Records of an oracleGeneral trace: some keys often, most seldom, and a scan.
local function requests(unit)
  if drawn[unit] then return drawn[unit] end
  local list, state = {}, 42
  for i = 1, REQUESTS do
    state = (state * 1103515245 + 12345) & 0x7fffffff
    local id = (state >> 8) % IDS
    if i % 3 > 0 then id = id % (1 + IDS // 8) end
    if i % 500 > 400 then id = IDS + i end
    list[i] = string.pack("<I4 I8 I4 i8", i, id, unit and 1 or 1 + id % 7, -1)
  end
  drawn[unit] = table.concat(list)
  return drawn[unit]
end

--- What a policy gets wrong in a short replay, of entries and of bytes; nil if nothing.
---@param policy any
---@param level integer where misuse is reported
---@return string? problem
---@return string? code of a policy that could not be made
function M.try(policy, level)
  for _, unit in ipairs{ true, false } do
    local limit <const> = unit and LIMIT or 4 * LIMIT
    local made, message, code = M.make(policy, limit, 1, true, level + 1)
    if not made then return message, code end
    local replay <close>, why, reason = evict.replay(made, limit, unit)
    if not replay then return why, reason end
    local ok, short, memory = replay:run(requests(unit))
    if not ok then return short, memory end
    local failure <const> = replay:failures()[1]
    if failure then
      return ("%s: %s"):format(failure.call, failure.message), "bad_policy"
    end
  end
end

-- The same of one policy that is emptied between the two: true where nothing at all went wrong.
-- Making a policy of a text is most of what a try costs.
local function passes(policy, level)
  local made <const> = M.make(policy, LIMIT, 1, true, level + 1)
  if not made then return false end
  local replay <close> = evict.replay(made, LIMIT, false)
  return replay and replay:run(requests(true)) and replay:resize(0) and replay:resize(4 * LIMIT)
    and replay:run(requests(false)) and #replay:failures() == 0
end

-- Functions of the program are not called before their time: what they keep is the program's own.
local function is_apart(policy)
  if type(policy) == "function" then return false end
  if type(policy) ~= "table" then return true end
  for _, value in next, policy do
    if type(value) == "function" then return false end
  end
  return true
end

--- Tries a policy that has a state of its own, or none: true, or nil and what it got wrong.
---@param policy any
---@param level integer
---@return true?
---@return string? message
---@return string? code
function M.dry_run(policy, level)
  if not is_apart(policy) or passes(policy, level + 1) then return true end
  local problem, code = M.try(policy, level + 1)
  if not problem then return true end
  return nil, problem, code
end

return M
