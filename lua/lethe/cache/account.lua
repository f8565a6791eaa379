-- A cache under a quota account: one participant, which gives clean entries back first, then writes
-- dirty ones, and stays.

local core = require "lethe.core.cache"
local core_loop = require "lethe.core.loop"
local loop = require "lethe.loop"

local M = {}

local WEAK <const> = { __mode = "v" }

-- A pass takes who has not answered by its deadline for lost; a cache answers before, with less.
local SHARE_OF_DEADLINE <const> = 0.8

---@class lethe.cache.Participant
local Participant = {}
Participant.__index = Participant

function Participant:get_oldest()
  local cache = self.kept.cache
  return cache and core.oldest(cache)
end

function Participant:reclaim(request)
  local cache = self.kept.cache
  if not cache then return "collapsing" end
  local waiting = core.reclaim(cache, request.goal)
  if not waiting then return "partial" end
  local on = core.own(cache).loop
  local timer
  loop.wait(on, function(wake)
    core.attend(waiting, wake)
    timer = core_loop.timer(on, request.deadline * SHARE_OF_DEADLINE, function() wake(false) end)
  end)
  core_loop.stop(timer)
  waiting:close()
  return "partial"
end

--- What claims for a cache that is yet to be made, and a table whose field `cache` it goes to.
---@param account lethe.quota.Account
---@return lethe.quota.Participation?
---@return table|string kept or message
---@return string? code
function M.participation(account)
  local kept = setmetatable({}, WEAK)
  local participation, message, code = account:participant(setmetatable({ kept = kept },
    Participant))
  if not participation then return nil, message, code end
  return participation, kept
end

return M
