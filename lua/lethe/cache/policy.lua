-- Which eviction policy a cache has: made of an option, exchanged for another, tried beside it.

local base = require "lethe.core.base"
local core = require "lethe.core.cache"
local policies = require "lethe.evict.make"

local M = {}

local NO_LIMIT <const> = math.maxinteger

--- The policy of an option, for core.new; nil, why there is none, and a code.
---@param policy any the option
---@param own table what the cache keeps
---@param level integer where misuse is reported, 1 being the caller
---@return userdata? made
---@return string? message
---@return string? code
function M.make(policy, own, level)
  local limit <const> = own.bytes or own.limit or NO_LIMIT
  local made, message, code = policies.make(policy or "lru", limit, 1, false, level + 1)
  if made == nil then return nil, message, code end -- no tail call: levels count this function
  return made
end

--- Puts another policy in charge of a cache, or leaves the one that is and says why.
---@param cache lethe.cache.Cache
---@param policy any
---@param level integer
---@return true?
---@return string? message
---@return string? code
function M.reload(cache, policy, level)
  local ok, why, code = policies.dry_run(policy, level + 1)
  if not ok then return nil, why, code end
  local made, message, reason = policies.make(policy, core.policy_limit(cache), 1, false, level + 1)
  if not made then return nil, message, reason end
  local _ <close> = made
  return core.reload(cache, made)
end

local SHADOW <const> = { "sample" }
local SAMPLE <const> = 1 / 8
local ENTRIES <const> = 64 -- fewer in a shadow say little: then more keys are looked at

--- Runs a policy beside the one of a cache.
---@param cache lethe.cache.Cache
---@param policy any
---@param options { sample: number? }?
---@param level integer
---@return lethe.cache.Shadow?
---@return string? message
---@return string? code
function M.shadow(cache, policy, options, level)
  if options ~= nil then base.options(options, SHADOW, level + 1) end
  local sample = options and options.sample or SAMPLE
  if type(sample) ~= "number" or not (sample > 0 and sample <= 1) then
    error(("sample must be a number above 0 and at most 1 (got %s)"):format(tostring(sample)),
      level + 1)
  end
  local limit <const>, own <const> = core.policy_limit(cache), core.own(cache)
  local unit <const> = own.bytes == nil
  if unit and limit * sample < ENTRIES then sample = math.min(1, ENTRIES / math.max(limit, 1)) end
  local made, message, code = policies.make(policy, core.shadow_limit(limit, sample), 1, false,
    level + 1)
  if not made then return nil, message, code end
  local _ <close> = made
  return core.shadow(cache, made, sample, unit)
end

return M
