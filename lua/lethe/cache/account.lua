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

--- What the tracker asks for a cache that is yet to be made, as it keeps it; the cache is to become
--- `holder[1].kept.cache`.
---@return table holder
function M.holder()
  return { setmetatable({ kept = setmetatable({}, WEAK) }, Participant) }
end

return M
