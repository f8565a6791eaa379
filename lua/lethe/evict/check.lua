-- What is wrong with a policy, found by trying it: as an eviction policy in a replay, as a
-- reclamation policy in a tracker with a few accounts.

local evict = require "lethe.core.evict"
local make = require "lethe.evict.make"

local M = {}

-- Options that only reclamation policies have.
local RECLAIMS <const> = { order = true, on_start = true, on_victim = true, on_stop = true,
  degraded = true }

local function is_builtin(policy)
  for _, name in ipairs(evict.names()) do
    if name == policy then return true end
  end
  return false
end

-- What an eviction policy gets wrong, or nil. Misuse is reported to pcall, which has no line.
local function as_eviction(policy)
  local ok, problem = pcall(make.try, policy, 1)
  return problem, ok
end

local function participant(age)
  local p
  return {
    get_oldest = function() return age end,
    reclaim = function() p:release(p:used()) return "partial" end,
    keep = function(handle) p = handle end,
  }
end

-- Accounts of several ages and sizes, which a pass then ranks: they are there as long as the list
-- is.
local function fill(tracker)
  local accounts = {}
  for i = 1, 6 do
    local account = assert(tracker:account{ name = "account " .. i, priority = i % 3 })
    local object = participant(i)
    local p = assert(account:participant(object))
    object.keep(p)
    assert(p:claim(i * 10000))
    accounts[i] = { account, p }
  end
  return accounts
end

-- What a reclamation policy gets wrong, or nil.
local function as_reclamation(policy)
  local quota <const> = require "lethe.quota"
  local loop <close> = require("lethe.loop").new{ clock = "virtual" }
  local problem
  local ok, tracker, message = pcall(quota.new, {
    max = "1M",
    policy = policy,
    loop = loop,
    on_event = function(event)
      if event.type == "policy_failed" then problem = problem or event.message end
    end,
  })
  if not ok then return tracker end
  if not tracker then return message end
  local _ <close> = tracker
  local _ <const> = fill(tracker) -- kept to the end of this function
  loop:spawn(function() tracker:reclaim(1 << 40) end)
  loop:advance(1)
  return problem
end

--- What is wrong with a policy; nothing where it serves as one or the other kind.
---@param policy any
---@return string[] problems
function M.problems(policy)
  if type(policy) == "string" and is_builtin(policy) then return {} end
  local evicts <const> = as_eviction(policy)
  if not evicts then return {} end
  local reclaims <const> = as_reclamation(policy)
  if not reclaims then return {} end
  local option <const> = evicts:match('unknown option "([%w_]+)"')
  return { RECLAIMS[option] and reclaims or evicts }
end

return M
